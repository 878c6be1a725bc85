"""Fits the networks of *sequence* as direct predictors of next month's excess return.

    r_i,t = w' z(x_i,t-L .. x_i,t-1) + b + u_i,t

There are no factors, hence no K and no fitted return. A window of test year y is fine-tuned from the
weights of the window of y - 1 (``refit``), seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seqpricing_core.models.configs import SequencePredictor
from seqpricing_core.models.factor_model import Arrays, FittedForecaster, FittedModel
from seqpricing_core.models.forecast import NO_FACTORS
from seqpricing_core.models.sequence.bi_lstm import BiLSTMNetwork
from seqpricing_core.models.sequence.dnn import DNNNetwork
from seqpricing_core.models.sequence.gru import GRUNetwork
from seqpricing_core.models.sequence.lstm import LSTMNetwork
from seqpricing_core.models.sequence.lstm_att import LSTMAttentionNetwork
from seqpricing_core.models.sequence.rnn import RNNNetwork
from seqpricing_core.models.sequence.transformer import TransformerNetwork
from seqpricing_core.nn.sequence_network import SequenceNetwork
from seqpricing_core.nn.sequence_scoring import MonthlyScorer
from seqpricing_core.nn.stack import State, initial_state
from seqpricing_core.panel.panel import Float64, MonthKnown
from seqpricing_core.study import Training
from seqpricing_core.training.sequence_training import TrainedPredictor, train_predictor
from seqpricing_core.windows import WindowSamples

NETWORKS: dict[str, Any] = {
    "dnn": DNNNetwork,
    "rnn": RNNNetwork,
    "lstm": LSTMNetwork,
    "gru": GRUNetwork,
    "bi_lstm": BiLSTMNetwork,
    "lstm_att": LSTMAttentionNetwork,
    "transformer": TransformerNetwork,
}


@dataclass(frozen=True)
class SequenceForecast:
    """Expected returns from the months up to t-1."""

    config: SequencePredictor
    network: SequenceNetwork

    def expected_returns(self, known: MonthKnown) -> Float64:
        """(N,) decimal"""
        return self._scorer().forecast(known)

    def expected_returns_of_months(self, months: Sequence[MonthKnown]) -> list[Float64]:
        """The same for consecutive months, bit for bit; they share what is computed per stock-month."""
        scorer = self._scorer()
        return [scorer.forecast(known) for known in months]

    def attention_by_stock(self, known: MonthKnown) -> Float64 | None:
        """(N, L) of each stock, oldest month first; each row sums to one. None for a network without.

        LSTM-ATT: alpha_t (*sequence*, eq. 13). Transformer: attention of the last month, averaged over heads.
        """
        return self._scorer().attend(known)

    def state(self) -> Arrays:
        return {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}

    def _scorer(self) -> MonthlyScorer:
        return MonthlyScorer(self.network, self.config.lookback, self.config.minimum_months)


def build(config: SequencePredictor, inputs: int) -> SequenceNetwork:
    """An untrained network for P characteristics."""
    network: SequenceNetwork = NETWORKS[config.family](config, inputs)
    return network


def fit(
    config: SequencePredictor,
    factor_numbers: Sequence[int],
    samples: WindowSamples,
    training: Training,
    previous: Mapping[int, tuple[FittedModel, ...]] | None = None,
) -> dict[int, tuple[FittedForecaster, ...]]:
    """One network per seed; an ensemble averages their forecasts.

    **Timing.** Months of training and validation, and for fine-tuning the fit of the window before.
    """
    del factor_numbers
    torch.set_num_threads(training.threads)
    before = {fitted.record["seed"]: fitted.model for fitted in (previous or {}).get(NO_FACTORS, ())}
    inputs = samples.shape[0]
    months = samples.validation.managed.months  # of training and validation
    fits = []
    for seed in training.seeds:
        warm = seed in before
        state = _tensors(before[seed].state()) if warm else initial_state(lambda: build(config, inputs), seed)
        network = build(config, inputs)
        network.load_state_dict(state)
        trained = train_predictor(network.to(_device(training)), config, samples, training, seed, warm=warm)
        network = build(config, inputs)
        network.load_state_dict(trained.state)
        record = {"inputs": inputs, **_record(seed, trained)}
        fits.append(FittedForecaster(SequenceForecast(config, network), months, record))
    return {NO_FACTORS: tuple(fits)}


def restore(
    config: SequencePredictor, factors: int, record: dict[str, Any], state: Arrays
) -> SequenceForecast:
    """The trained model from its arrays."""
    del factors
    network = build(config, record["inputs"])
    network.load_state_dict(_tensors(state))
    return SequenceForecast(config, network)


def _record(seed: int, trained: TrainedPredictor) -> dict[str, Any]:
    course = trained.course
    kept = trained.start_loss is not None and trained.start_loss <= course.lowest_loss
    return {
        "seed": seed,
        "fine_tuned": trained.start_loss is not None,
        "start_loss": trained.start_loss,
        "best_epoch": 0 if kept else course.best_epoch,
        "train_loss": course.train_loss,
        "validation_loss": course.validation_loss,
    }


def _tensors(state: Arrays) -> State:
    return {name: torch.tensor(np.asarray(array)) for name, array in state.items()}


def _device(training: Training) -> torch.device:
    chosen = training.device
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if chosen == "auto" else chosen)
