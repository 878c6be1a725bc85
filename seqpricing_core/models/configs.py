"""Architectures, as frozen data. Light on purpose: reading a study must not import torch."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
HiddenSizes = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Config(BaseModel):
    """Frozen, and strict about its keys: a misspelt option is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Grid(Config):
    """Candidates of one network, every combination of which is trained (*memory*, table .8)."""

    l1: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    learning_rate: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    beta_hidden: Annotated[tuple[HiddenSizes, ...], Field(min_length=1)]


class IPCA(Config):
    """Loadings linear in the characteristics (Kelly, Pruitt, Su 2019)."""

    family: Literal["ipca"] = "ipca"
    max_iterations: PositiveInt = 1000
    tolerance: Annotated[float, Field(gt=0)] = 1e-6


class ConditionalAutoencoder(Config):
    """Loadings by a feed-forward network, factors linear in x_t (Gu, Kelly, Xiu 2021; CA2)."""

    family: Literal["cae"] = "cae"
    grid: Grid = Grid(l1=(1e-3, 1e-2, 1e-1), learning_rate=(1e-4, 1e-3, 1e-2), beta_hidden=((32, 16),))


class SequenceFactor(Config):
    """Factors by an LSTM encoder-decoder with attention over x (*memory*, SeqLAT).

    ``hidden_size`` null means K, as section 3.2 of the paper has it; the paper leaves the number
    of look-back months open, we use 12.
    """

    family: Literal["seqlat"] = "seqlat"
    lookback: PositiveInt = 12
    hidden_size: PositiveInt | None = None
    grid: Grid = Grid(
        l1=(1e-3, 1e-2, 1e-1), learning_rate=(1e-4, 1e-3, 1e-2), beta_hidden=((8,), (16,), (64,))
    )


NetworkConfig: TypeAlias = ConditionalAutoencoder | SequenceFactor
ModelConfig: TypeAlias = Annotated[IPCA | NetworkConfig, Field(discriminator="family")]
