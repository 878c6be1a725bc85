"""GAN: a stochastic discount factor trained against the moments it prices worst (Chen, Pelger, Zhu 2023).

With r_it the excess return, T_i months of asset i among T, N_t stocks in month t, h macro states (if any):

    F_k,t = 1/N_t sum_i omega_k(z_i,t-1, h_t-1) r_it                       (1) SDF portfolios
    M_t   = 1 - sum_k F_k,t                                                (2) stochastic discount factor
    alpha_i = 1/T_i sum_t M_t r_it g(z_i,t-1, h^g_t-1)                     (3) pricing errors, g in (-1, 1)^D
    L(omega, g) = mean over i and d of T_i/T alpha_id^2                    (4) no-arbitrage loss
    V(omega) = 1 - explained variation of r_t by the columns of omega_t-1  (5)
    b_k(z_i,t-1, h_t-1) = E[r_it F_k,t | z_i,t-1, h_t-1]                   (6) loadings, up to scale

Phases: the SDF network minimises L(omega, 1); the conditional network maximises L(omega, g) over g; the SDF
network, from where it was, minimises L(omega, g). Steps use the whole sample, for alpha_i is a mean over
all months. Then the loading network is a regression of r F on (z, h). Factors f_t are the cross-sectional
regression of r_t on b, so that neither the scale nor the rotation of b matters; expected returns come from
the mean of f, as for every latent factor model. Numbers of equations are ours.

The authors' code ("Deep_Learning_Asset_Pricing", TensorFlow) settles what the paper leaves open: sizes,
dropout, four steps an epoch, one alternation, no weights kept in the first 64 epochs, macro states carried
from training into validation, Sharpe ratio of the SDF on the validation months as the criterion (or there
the unconditional loss: ``criterion``; the code keeps both, and hands the weights of the loss from phase to
phase), loadings of 32-16-8 hidden units on r F with F from weights whose absolute values sum to 1 each month.

Departures
----------
- **K.** The paper has one SDF portfolio; *memory* reports its GAN for K = 1 .. 6 and does not say what K is.
  Here K is the number of output columns of the SDF network. K = 1 is the paper's model. For K > 1 eq. 4
  sees the columns through their sum alone, so V of eq. 5, the residual loss that the authors' code offers,
  is added with ``variation_weight``: it identifies the space that the columns span.
- L is divided by its value at M = 1, g = 1, a constant of the training data: 1 means no SDF at all.
- The 1/N_t of eq. 1 is an option in the authors' code; without it F grows with the number of stocks.
- T_i/T as in the paper; the code has T_i over the largest T_i, a constant apart.
- While one network trains, the other is held without dropout; in the code both have it.
- The loading network also sees h (in the code characteristics only), since b is conditional on it.
- Training stops after ``training.patience`` epochs without a better one; the code runs all its epochs.
- An ensemble averages returns, not weights omega.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqpricing_core.models.configs import GAN
from seqpricing_core.models.factor_model import (
    Arrays,
    FittedFactorModel,
    LatentFactorModel,
    factor_history,
)
from seqpricing_core.nn.pricing_errors import (
    StockMonths,
    discount_factor,
    portfolio_returns,
    pricing_errors,
    pricing_loss,
    unexplained_variation,
)
from seqpricing_core.nn.sdf_networks import GANNetworks, MacroScale, MacroStates, StateNetwork
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome, Sample
from seqpricing_core.study import Training
from seqpricing_core.windows import WindowSamples

PERCENT = 100.0
"""Networks see returns in percent: F of eq. 1 then has the size of a discount factor."""


@dataclass(frozen=True)
class SDFModel(LatentFactorModel):
    """A trained SDF with the loadings on its portfolios."""

    networks: GANNetworks
    """In evaluation mode, on the CPU."""
    first_month: np.datetime64
    """Where macro states start from zero: the first month of training."""

    def factor_loadings(self, known: MonthKnown) -> Float64:
        """(N, K) b of eq. 6, up to scale."""
        return self._of_stocks(self.networks.loadings, self.networks.sdf_states, known)

    def latent_factors(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(K,) cross-sectional regression of r_t on the loadings, over the stocks that have a return."""
        there = ~np.isnan(outcome.excess_return)
        solution = np.linalg.lstsq(self.factor_loadings(known)[there], outcome.excess_return[there])[0]
        return solution.astype(np.float64)

    def sdf_weights(self, known: MonthKnown) -> Float64:
        """(N,) omega_t-1 summed over portfolios, scaled as the paper reports it: absolute values sum to 1."""
        weights: Float64 = self._of_stocks(self.networks.sdf, self.networks.sdf_states, known).sum(axis=1)
        return weights / max(float(np.abs(weights).sum()), np.finfo(np.float64).tiny)

    def instruments(self, known: MonthKnown) -> Float64:
        """(N, D) g of eq. 3: the moments that were hardest to price."""
        states = self.networks.conditional_states
        return np.tanh(self._of_stocks(self.networks.conditional, states, known))

    def state(self) -> Arrays:
        arrays = {name: tensor.numpy() for name, tensor in self.networks.state_dict().items()}
        return arrays | {"first_month": np.array(self.first_month.astype("datetime64[M]").astype(np.int64))}

    def _of_stocks(self, network: StateNetwork, macro: MacroStates | None, known: MonthKnown) -> Float64:
        z = torch.tensor(known.characteristics)
        with torch.inference_mode():
            states = macro(self._macro(known))[-1:] if macro else None
            outputs = network(z, torch.zeros(len(z), dtype=torch.long), states)
        values: Float64 = outputs.numpy().astype(np.float64)
        return values

    def _macro(self, known: MonthKnown) -> Tensor:
        """The macro series from the first month of training to ``known.month``."""
        months = int((known.month.astype("datetime64[M]") - self.first_month).astype(np.int64)) + 1
        if known.macro is None or not 0 < months <= len(known.macro):
            held = "none" if known.macro is None else f"{len(known.macro)} month(s)"
            raise ValueError(
                f"this model needs the macro series of {self.first_month} .. {known.month}. Got {held}"
            )
        return torch.tensor(known.macro[-months:])


def fit(
    config: GAN, factor_numbers: Sequence[int], samples: WindowSamples, training: Training
) -> dict[int, tuple[FittedFactorModel, ...]]:
    """One SDF per K and seed."""
    return {
        factors: tuple(fit_gan(config, factors, samples, training, seed) for seed in training.seeds)
        for factors in factor_numbers
    }


def restore(config: GAN, factors: int, record: dict[str, Any], state: Arrays) -> SDFModel:
    """The fitted model from its arrays."""
    arrays = dict(state)
    first_month = np.datetime64(arrays.pop("first_month").item(), "M")
    mean, scale = (torch.tensor(arrays[f"sdf_states.{name}"]) if record["macro"] else None
                   for name in ("mean", "scale"))  # fmt: skip
    macro = MacroScale(mean, scale) if mean is not None and scale is not None else None
    networks = _networks(config, factors, record["characteristics"], macro)
    networks.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return SDFModel(networks.eval(), first_month)


def fit_gan(
    config: GAN, factors: int, samples: WindowSamples, training: Training, seed: int
) -> FittedFactorModel:
    """One SDF with K portfolios, and the loadings on them.

    On the CPU the same seed gives the same bytes; a GPU adds in an order of its own.

    Raises
    ------
    FloatingPointError
        A phase has no epoch with a finite loss; names phase, K, test year and seed.
    """
    torch.set_num_threads(training.threads)
    torch.manual_seed(seed)
    device = _device(training)
    train, validation = _Months.of(samples.train, device), _Months.of(samples.validation, device)
    macro = None if train.macro is None else MacroScale.of(train.macro)
    width = train.z.shape[1]
    networks = _networks(config, factors, width, macro).to(device)
    name = f"K = {factors}, test year {samples.window.test_year}, seed {seed}"
    fitting = _Fit(config, training, networks, train, validation, name)
    phases = [fitting.sdf("unconditional", None)]
    for _ in range(config.alternations):
        phases.append(fitting.conditional())
        phases.append(fitting.sdf("conditional", fitting.hardest_moments()))
    sharpe = {"train": fitting.sharpe(train), "validation": fitting.sharpe(validation)}
    phases.append(fitting.loadings(seed))
    model = SDFModel(networks.cpu().eval(), samples.train.panel.months[0])
    *_, last_sdf, _ = phases
    record = {
        "seed": seed, "characteristics": width, "phases": phases, "monthly_sdf_sharpe": sharpe,
        "macro": list(samples.train.macro.names) if samples.train.macro else [],
        **{key: last_sdf[key] for key in ("train_loss", "validation_loss", "best_epoch")},
    }  # fmt: skip
    return FittedFactorModel(model, factor_history(model, samples.train, samples.validation), record)


@dataclass(frozen=True)
class _Months:
    """A sample as tensors: rows with a return, returns in percent."""

    z: Tensor
    """(n, P)"""
    r: Tensor
    """(n,)"""
    rows: StockMonths
    macro: Tensor | None
    """(S, M) that ends with the sample's months; may start earlier."""

    @classmethod
    def of(cls, sample: Sample, device: torch.device) -> _Months:
        panel = sample.panel.with_returns()
        _, asset, months = np.unique(panel.asset_id, return_inverse=True, return_counts=True)
        stocks = np.diff(panel.offsets)
        month = np.repeat(np.arange(len(stocks)), stocks)

        def tensor(array: Any, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(array, dtype=dtype, device=device)

        return cls(
            z=tensor(panel.characteristics),
            r=tensor(panel.excess_return * PERCENT),
            rows=StockMonths(
                tensor(month, torch.long), tensor(asset, torch.long), tensor(stocks), tensor(months)
            ),
            macro=None if sample.macro is None else tensor(sample.macro.values, torch.float64),
        )

    def __len__(self) -> int:
        return len(self.rows.stocks)

    @property
    def unpriced(self) -> Tensor:
        """L(0, 1): the loss without an SDF."""
        one = torch.ones_like(self.r)[:, None]
        errors = pricing_errors(torch.ones_like(self.rows.stocks), self.r, one, self.rows)
        return pricing_loss(errors, self.rows)


@dataclass(frozen=True)
class _Fit:
    """Phases of one fit; each leaves the networks with the weights of its best epoch."""

    config: GAN
    training: Training
    networks: GANNetworks
    train: _Months
    validation: _Months
    name: str
    """For messages: K, test year, seed."""

    def sdf(self, phase: str, instruments: Tensor | None) -> dict[str, Any]:
        """The SDF network minimises L(omega, g), g held; without instruments L(omega, 1)."""
        minimum = min(self.config.minimum_epochs, self.training.max_epochs - 1)
        best = _Best(phase, nn.ModuleList(filter(None, [self.networks.sdf, self.networks.sdf_states])))
        parameters = self.networks.sdf_parameters()
        train_loss: list[float] = []
        sharpes: list[float] = []
        losses: list[float] = []
        for step in self._epochs(self._sdf_loss(instruments), parameters, self.training.max_epochs):
            now = (step, self.sharpe(self.validation), self.unconditional_loss(self.validation))
            if not all(map(math.isfinite, now)):
                break
            for curve, value in zip((train_loss, sharpes, losses), now, strict=True):
                curve.append(value)
            if len(train_loss) <= minimum:
                continue
            score = sharpes[-1] if self.config.criterion == "sharpe" else -losses[-1]
            if best.offer(score, len(train_loss)) or len(train_loss) - best.epoch < self.training.patience:
                continue
            break
        best.restore(self.name)
        return {"phase": phase, "train_loss": train_loss, "validation_loss": losses,
                "validation_sharpe": sharpes, "best_epoch": best.epoch}  # fmt: skip

    def conditional(self) -> dict[str, Any]:
        """The conditional network maximises L(omega, g) over g, omega held; keeps the highest loss."""
        with torch.no_grad():
            self.networks.eval()
            weights = self.weights(self.train)
            discount = discount_factor(portfolio_returns(weights, self.train.r, self.train.rows))
        unpriced = self.train.unpriced

        def loss() -> Tensor:
            errors = pricing_errors(discount, self.train.r, self.instruments(), self.train.rows)
            return -pricing_loss(errors, self.train.rows) / unpriced

        own = [self.networks.conditional, self.networks.conditional_states]
        best = _Best("moments", nn.ModuleList(filter(None, own)))
        parameters = self.networks.conditional_parameters()
        curve: list[float] = []
        for _ in self._epochs(loss, parameters, self.config.conditional_epochs):
            with torch.no_grad():
                now = -float(loss())
            if not math.isfinite(now):
                break
            curve.append(now)
            best.offer(now, len(curve))
        best.restore(self.name)
        return {"phase": "moments", "train_loss": curve, "best_epoch": best.epoch}

    def loadings(self, seed: int) -> dict[str, Any]:
        """The loading network regresses r F on (z, h), in random batches of whole months (eq. 6)."""
        self.networks.eval()
        targets, states = self._loading_targets()
        network, optimiser = self.networks.loadings, self._adam([*self.networks.loadings.parameters()])
        best = _Best("loadings", nn.ModuleList([network]))
        shuffle = np.random.default_rng(seed)
        curve: list[float] = []
        losses: list[float] = []
        for epoch in range(1, self.training.max_epochs + 1):
            network.train()
            squares = 0.0
            for batch in _batches(self.train, shuffle, self.training.batch_months):
                optimiser.zero_grad(set_to_none=True)
                loss = _squared_error(network, self.train, targets[0], states[0], batch)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                squares += float(loss.detach()) * len(batch)
            network.eval()
            with torch.no_grad():
                now = float(_squared_error(network, self.validation, targets[1], states[1], None))
            if not math.isfinite(now):
                break
            curve.append(squares / len(self.train.r))
            losses.append(now)
            if not best.offer(-now, epoch) and epoch - best.epoch >= self.training.patience:
                break
        best.restore(self.name)
        return {"phase": "loadings", "train_loss": curve, "validation_loss": losses, "best_epoch": best.epoch}

    def weights(self, months: _Months) -> Tensor:
        """(n, K) omega."""
        states = self._states(self.networks.sdf_states, months)
        weights: Tensor = self.networks.sdf(months.z, months.rows.month, states, self._rows_at_once)
        return weights

    def instruments(self) -> Tensor:
        """(n, D) g of the training rows."""
        states = self._states(self.networks.conditional_states, self.train)
        network, rows = self.networks.conditional, self.train.rows
        return torch.tanh(network(self.train.z, rows.month, states, self._rows_at_once))

    def hardest_moments(self) -> Tensor:
        """The instruments g as the conditional network left it, no longer to be changed."""
        self.networks.eval()
        with torch.no_grad():
            return self.instruments()

    def sharpe(self, months: _Months) -> float:
        """Monthly Sharpe ratio of the SDF portfolio sum_k F_k."""
        with torch.no_grad():
            self.networks.eval()
            returns = portfolio_returns(self.weights(months), months.r, months.rows).sum(dim=1)
        return float(returns.mean() / returns.std(correction=0))

    def unconditional_loss(self, months: _Months) -> float:
        """L(omega, 1) over its value without an SDF."""
        with torch.no_grad():
            self.networks.eval()
            discount = discount_factor(portfolio_returns(self.weights(months), months.r, months.rows))
            errors = pricing_errors(discount, months.r, torch.ones_like(months.r)[:, None], months.rows)
            return float(pricing_loss(errors, months.rows) / months.unpriced)

    def _sdf_loss(self, instruments: Tensor | None) -> Callable[[], Tensor]:
        """L(omega, g) over L(0, 1) as a function of the SDF network; for K > 1 with V."""
        months, factor = self.train, self.config.variation_weight
        g = torch.ones_like(months.r)[:, None] if instruments is None else instruments
        unpriced = months.unpriced

        def loss() -> Tensor:
            weights = self.weights(months)
            discount = discount_factor(portfolio_returns(weights, months.r, months.rows))
            errors = pricing_errors(discount, months.r, g, months.rows)
            total = pricing_loss(errors, months.rows) / unpriced
            if weights.shape[1] > 1 and factor:
                total = total + factor * unexplained_variation(weights, months.r, months.rows)
            return total

        return loss

    def _epochs(
        self, loss: Callable[[], Tensor], parameters: list[nn.Parameter], epochs: int
    ) -> Iterator[float]:
        """Steps of Adam on the whole sample; the mean loss of each epoch, networks left without dropout."""
        optimiser = self._adam(parameters)
        held = {id(p) for p in parameters}
        trained = [m for m in self.networks.children() if {id(p) for p in m.parameters()} <= held]
        for _ in range(epochs):
            self.networks.eval()
            for module in trained:
                module.train()
            total = 0.0
            for _ in range(self.config.updates_per_epoch):
                optimiser.zero_grad(set_to_none=True)
                value = loss()
                value.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += float(value.detach())
            self.networks.eval()
            yield total / self.config.updates_per_epoch

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.config.learning_rate)

    def _states(self, macro: MacroStates | None, months: _Months) -> Tensor | None:
        """(T, U) of the sample's months; earlier ones run through the recurrence first."""
        if macro is None or months.macro is None:
            return None
        states: Tensor = macro(months.macro)[-len(months) :]
        return states

    def _loading_targets(self) -> tuple[list[Tensor], list[Tensor | None]]:
        """(n, K) r F of training and validation rows, in units of the training months; and h."""
        targets, states = [], []
        with torch.no_grad():
            for months in (self.train, self.validation):
                omega, rows = self.weights(months), months.rows
                size = portfolio_returns(omega.abs(), torch.ones_like(months.r), rows).clamp_min(1e-30)
                portfolios = portfolio_returns(omega, months.r, rows) / size
                targets.append(months.r[:, None] * portfolios[rows.month])
                states.append(self._states(self.networks.sdf_states, months))
            unit = targets[0].square().mean(dim=0).sqrt().clamp_min(1e-30)
        return [target / unit for target in targets], states

    @property
    def _rows_at_once(self) -> int:
        """Rows whose activations, before and after ReLU and dropout, fit ``training.memory_mib``."""
        widest = max(sum(self.config.sdf_hidden), sum(self.config.conditional_hidden))
        return max(self.training.memory_mib * 2**20 // (4 * (4 * widest + 64)), 1024)


class _Best:
    """The weights of a phase's best epoch."""

    def __init__(self, phase: str, module: nn.ModuleList) -> None:
        self.phase = phase
        self.module = module
        self.score = -math.inf
        self.epoch = 0
        self._state: dict[str, Any] = {}

    def offer(self, score: float, epoch: int) -> bool:
        """Keep the weights as they are now if their score is the highest so far."""
        if not (math.isfinite(score) and score > self.score):
            return False
        self.score, self.epoch = score, epoch
        self._state = copy.deepcopy(self.module.state_dict())
        return True

    def restore(self, name: str) -> None:
        """Put the kept weights back."""
        if not self.epoch:
            raise FloatingPointError(f"phase '{self.phase}' of the GAN has no epoch that is finite ({name})")
        self.module.load_state_dict(self._state)


def _networks(config: GAN, factors: int, characteristics: int, macro: MacroScale | None) -> GANNetworks:
    """Untrained; sizes from the config."""
    sdf_states, conditional_states = (config.sdf_states, config.conditional_states) if macro else (0, 0)
    drop = config.dropout
    return GANNetworks(
        StateNetwork(characteristics, sdf_states, config.sdf_hidden, factors, drop),
        StateNetwork(
            characteristics, conditional_states, config.conditional_hidden, config.instruments, drop
        ),
        StateNetwork(characteristics, sdf_states, config.loading_hidden, factors, drop),
        MacroStates(macro, sdf_states, drop) if macro else None,
        MacroStates(macro, conditional_states, drop) if macro else None,
    )


def _batches(months: _Months, shuffle: np.random.Generator, size: int) -> Iterator[Tensor]:
    """Rows of randomly ordered months, so many months at a time."""
    stocks = months.rows.stocks.cpu().numpy().astype(np.int64)
    starts = np.cumsum(stocks) - stocks
    order = shuffle.permutation(len(stocks))
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        rows = np.concatenate([np.arange(starts[t], starts[t] + stocks[t]) for t in chosen])
        yield torch.tensor(rows, device=months.z.device)


def _squared_error(
    network: StateNetwork, months: _Months, target: Tensor, states: Tensor | None, rows: Tensor | None
) -> Tensor:
    """Mean over rows and portfolios of (r F - b)^2; all rows if none are named."""
    z, month = months.z, months.rows.month
    if rows is not None:
        z, month, target = z[rows], month[rows], target[rows]
    return torch.mean((target - network(z, month, states)) ** 2)


def _device(training: Training) -> torch.device:
    if training.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(training.device)
