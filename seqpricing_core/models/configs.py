"""Architectures, as frozen data. Light on purpose: reading a study must not import torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
HiddenSizes = tuple[PositiveInt, ...]


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


def _grid(*beta_hidden: HiddenSizes) -> Grid:
    """The penalties and step sizes of *memory*'s table .8."""
    return Grid(l1=(1e-3, 1e-2, 1e-1), learning_rate=(1e-4, 1e-3, 1e-2), beta_hidden=beta_hidden)


class CA0(Config):
    """Conditional autoencoder (Gu, Kelly, Xiu 2021) with linear loadings; factors linear in x_t."""

    family: Literal["ca0"] = "ca0"
    grid: Grid = _grid(())


class CA1(Config):
    """Conditional autoencoder, loadings by one hidden layer."""

    family: Literal["ca1"] = "ca1"
    grid: Grid = _grid((32,))


class CA2(Config):
    """Conditional autoencoder, loadings by two hidden layers: the benchmark of *memory*."""

    family: Literal["ca2"] = "ca2"
    grid: Grid = _grid((32, 16))


class CA3(Config):
    """Conditional autoencoder, loadings by three hidden layers."""

    family: Literal["ca3"] = "ca3"
    grid: Grid = _grid((32, 16, 8))


class _SequenceFactor(Config):
    """Factors by a recurrent encoder-decoder with attention over x (*memory*, section 2.3).

    ``hidden_size`` null means K, as section 3.2 of the paper has it; the paper leaves the number
    of look-back months open, we use 12.
    """

    lookback: PositiveInt = 12
    hidden_size: PositiveInt | None = None
    grid: Grid = _grid((8,), (16,), (64,))


class SeqRAT(_SequenceFactor):
    """Plain recurrent cells."""

    family: Literal["seqrat"] = "seqrat"


class SeqGAT(_SequenceFactor):
    """Gated recurrent units."""

    family: Literal["seqgat"] = "seqgat"


class SeqLAT(_SequenceFactor):
    """Long short-term memory."""

    family: Literal["seqlat"] = "seqlat"


class _SizeValueMomentum(Config):
    """Linear benchmarks use three characteristics, by acronym: of size, value and momentum."""

    characteristics: tuple[str, str, str] = ("mvel1", "bm", "mom_12")

    @field_validator("characteristics")
    @classmethod
    def _distinct(cls, characteristics: tuple[str, str, str]) -> tuple[str, str, str]:
        if len(set(characteristics)) != len(characteristics):
            raise ValueError("three characteristics that differ")
        return characteristics


class _PrincipalComponents(Config):
    """Which managed portfolios the factors are principal components of.

    ``slopes``: x_t = (Z'Z)^-1 Z' r_t, the test assets of *memory*. ``averages``: Z' r_t / N_t, those of
    Kelly, Pruitt, Su (2019). Characteristics that go together, such as size and dollar volume, have noisy
    slopes of opposite sign, and these can fill the first components of x_t; averages do not suffer from it.
    """

    portfolios: Literal["slopes", "averages"] = "averages"


class OLS(_SizeValueMomentum, _PrincipalComponents):
    """Factors are principal components of x_t, loadings linear in size, value and momentum."""

    family: Literal["ols"] = "ols"


class OLS3Forecast(_SizeValueMomentum):
    """A forecast without factors, linear in size, value and momentum (Gu, Kelly, Xiu 2020).

    ``loss: huber`` is their OLS-3+H: beyond the ``huber_quantile`` of the absolute residuals of least
    squares (theirs is 99.9%, table A.5) a residual counts linearly.
    """

    family: Literal["ols3_forecast"] = "ols3_forecast"
    loss: Literal["squared", "huber"] = "squared"
    huber_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.999


class ForestGrid(Config):
    """Forests of ``trees`` trees; every depth with every number of columns tried at a split.

    Gu, Kelly, Xiu (2020, table A.5) grow 300 trees and search depths 1 to 6 and 3, 5, 10, 20, 30, 50 ...
    columns; the default searches two of each. A number beyond the columns there are means all of them, one
    that LightGBM does not draw evenly the next that it does (`evenly_drawn`). They state no smallest leaf.
    """

    trees: PositiveInt = 300
    depth: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1)] = (3, 6)
    features: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (10, 30)
    minimum_leaf: PositiveInt = 20
    """Rows, of those that the tree was given."""
    share_of_rows: Annotated[float, Field(gt=0, lt=1)] = 0.632
    """Drawn for each tree."""


class RandomForest(ForestGrid, _PrincipalComponents):
    """Factors are principal components of x_t, returns a random forest of them and all characteristics."""

    family: Literal["rf"] = "rf"


class RandomForestForecast(ForestGrid):
    """A forecast without factors, by a random forest of all characteristics (Gu, Kelly, Xiu 2020)."""

    family: Literal["rf_forecast"] = "rf_forecast"


class NN(_PrincipalComponents):
    """Factors are principal components of x_t, returns a network of them and all characteristics."""

    family: Literal["nn"] = "nn"
    grid: Grid = _grid((32, 16, 8))


class NNForecast(Config):
    """A forecast without factors, by a feed-forward network of all characteristics (Gu, Kelly, Xiu 2020)."""

    family: Literal["nn_forecast"] = "nn_forecast"
    grid: Grid = _grid((32, 16, 8))


class GAN(Config):
    """SDF network against an adversary that picks the moments (Chen, Pelger, Zhu 2023); see `sdf_gan`.

    Defaults are those of the authors' published configuration. The number of epochs of the SDF network is
    ``training.max_epochs``; theirs are 256 without and 1024 with instruments.
    """

    family: Literal["gan"] = "gan"
    sdf_hidden: HiddenSizes = (64, 64)
    sdf_states: PositiveInt = 4
    """Macro states of the SDF network, where the study gives macro series."""
    instruments: PositiveInt = 8
    """Instruments g of the conditional network."""
    conditional_hidden: HiddenSizes = ()
    conditional_states: PositiveInt = 32
    loading_hidden: HiddenSizes = (32, 16, 8)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of hidden units, and of macro inputs, dropped."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    updates_per_epoch: PositiveInt = 4
    """Steps on the whole sample: moments are means over all months, there are no batches."""
    minimum_epochs: Annotated[int, Field(ge=0)] = 64
    """Before these no weights are kept: an untrained network can have a high Sharpe ratio by luck."""
    conditional_epochs: PositiveInt = 64
    """Of the conditional network."""
    alternations: PositiveInt = 1
    """Rounds of conditional network, then SDF network."""
    criterion: Literal["sharpe", "loss"] = "sharpe"
    """What stops the SDF network and picks its weights, on the validation months."""
    variation_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the unexplained variation, for K > 1 only."""


class _SequencePredictor(Config):
    """Forecasts from the last ``lookback`` months of all characteristics (*sequence*); no factors, no K.

    Optimisation as in the paper's section on it: Adam, dropout on the representation, l2 on all weights.
    What it leaves open is ours: mini-batches, early stopping, and that windows train on runs of months.
    """

    lookback: PositiveInt = 12
    minimum_months: PositiveInt = 1
    """Months with data that a window must hold, the newest included. A stock with fewer does not train, and
    its forecast is the mean of the month's other forecasts."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    l2: Annotated[float, Field(ge=0)] = 5e-4
    """Of the sum of squared errors of a batch in decimal returns, as weight decay in Adam's gradient."""
    batch: PositiveInt = 800
    """Windows of one step."""
    run_months: PositiveInt = 12
    """Windows of so many consecutive months of a stock go into a batch together and share what is computed
    per stock-month; 1 draws every window by itself."""
    refit: Literal["fine_tune", "from_scratch"] = "fine_tune"
    """``fine_tune``: each test year goes on from the weights of the year before."""

    @model_validator(mode="after")
    def _minimum_within_lookback(self) -> Self:
        if self.minimum_months > self.lookback:
            raise ValueError(
                f"minimum_months up to the look-back, {self.lookback}, not {self.minimum_months}"
            )
        return self


class DNN(_SequencePredictor):
    """All months side by side into a feed-forward network."""

    family: Literal["dnn"] = "dnn"
    hidden: Annotated[HiddenSizes, Field(min_length=1)] = (256, 64, 8)


class _RecurrentPredictor(_SequencePredictor):
    hidden: PositiveInt = 32
    layers: PositiveInt = 2


class RNN(_RecurrentPredictor):
    """Plain recurrent network."""

    family: Literal["rnn"] = "rnn"


class LSTM(_RecurrentPredictor):
    """Long short-term memory."""

    family: Literal["lstm"] = "lstm"


class GRU(_RecurrentPredictor):
    """Gated recurrent units."""

    family: Literal["gru"] = "gru"


class BiLSTM(_RecurrentPredictor):
    """Two LSTMs, one from the first month to the last, one from the last to the first."""

    family: Literal["bi_lstm"] = "bi_lstm"


class LSTMAttention(_RecurrentPredictor):
    """An LSTM whose last state attends to the states of all months."""

    family: Literal["lstm_att"] = "lstm_att"


class Transformer(_SequencePredictor):
    """One encoder block. The paper is silent on the number of heads; we use the original's 8."""

    family: Literal["transformer"] = "transformer"
    hidden: PositiveInt = 256
    heads: PositiveInt = 8
    feed_forward: PositiveInt = 64

    @model_validator(mode="after")
    def _even_heads(self) -> Self:
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"hidden as an even multiple of heads, not {self.hidden} and {self.heads}")
        return self


SequencePredictor: TypeAlias = DNN | RNN | LSTM | GRU | BiLSTM | LSTMAttention | Transformer
ConditionalAutoencoder: TypeAlias = CA0 | CA1 | CA2 | CA3
SequenceFactor: TypeAlias = SeqRAT | SeqGAT | SeqLAT
Benchmark: TypeAlias = GAN | OLS | RandomForest | NN | OLS3Forecast | RandomForestForecast | NNForecast
ModelConfig: TypeAlias = Annotated[
    IPCA | ConditionalAutoencoder | SequenceFactor | Benchmark | SequencePredictor,
    Field(discriminator="family"),
]
