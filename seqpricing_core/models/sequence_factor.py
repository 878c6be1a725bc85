"""SeqLAT: sequence latent factor model with LSTM and attention (*memory*, section 2.3).

Loadings from z by one hidden layer; the factors of month t from the last L months of managed
portfolios, so that f_t depends on what came before and not on x_t alone.
"""

from __future__ import annotations

from seqpricing_core.models.configs import HiddenSizes, SequenceFactor
from seqpricing_core.nn.beta_network import BetaNetwork
from seqpricing_core.nn.encoder_decoder import AttentionFactorNetwork
from seqpricing_core.nn.factor_model_network import FactorModelNetwork


def build(
    config: SequenceFactor,
    beta_hidden: HiddenSizes,
    factors: int,
    shape: tuple[int, int],
) -> FactorModelNetwork:
    """The number of encoder and decoder units is K unless the config says otherwise (section 3.2)."""
    return FactorModelNetwork(
        BetaNetwork(shape[0], beta_hidden, factors),
        AttentionFactorNetwork(shape[1], config.hidden_size or factors, config.lookback, factors),
        lookback=config.lookback,
    )
