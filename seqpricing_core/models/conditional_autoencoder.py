"""CAE: conditional autoencoder (Gu, Kelly, Xiu 2021). Loadings non-linear in z, factors linear in x_t."""

from __future__ import annotations

from seqpricing_core.models.configs import ConditionalAutoencoder, HiddenSizes
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.factor_model_network import FactorModelNetwork, LinearFactorNetwork


def build(
    config: ConditionalAutoencoder,  # noqa: ARG001 - all that CA2 leaves open is in the grid
    beta_hidden: HiddenSizes,
    factors: int,
    shape: tuple[int, int],
) -> FactorModelNetwork:
    """CA2 for ``beta_hidden = (32, 16)``: batch norm and ReLU in the beta network, factors linear in x_t."""
    return FactorModelNetwork(
        BetaNetwork(shape[0], beta_hidden, factors),
        LinearFactorNetwork(shape[1], factors),
        lookback=1,
    )
