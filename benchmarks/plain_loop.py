"""The usual way: one candidate at a time, torch's own modules, autograd through every stock-month.

The twin that the training engine is tested against, and the baseline of ``benchmarks/training.py``.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PERCENT = 100.0
CELLS = {"seqrat": nn.RNNCell, "seqgat": nn.GRUCell, "seqlat": nn.LSTMCell}
GATES = {"seqrat": [0], "seqgat": [1, 0, 2], "seqlat": [1, 0, 3, 2]}
"""Where our gates stand in torch's order.

Ours are (h), (update, reset, new), (forget, input, output, candidate).
"""


class PlainFactors(nn.Module):
    """Encoder, attention, decoder, one sequence of x (B, L, Q) at a time: f (B, K)."""

    def __init__(self, family: str, inputs: int, hidden: int, lookback: int, factors: int) -> None:
        super().__init__()
        self.lookback = lookback
        self.encoder = CELLS[family](inputs, hidden)
        self.decoder = CELLS[family](hidden, hidden)
        for cell in (self.encoder, self.decoder):  # one bias per gate, as in the paper
            cell.bias_hh.requires_grad_(False).zero_()
        self.attention = nn.Parameter(torch.empty(hidden, hidden))
        self.linear = nn.Linear(hidden * lookback, factors)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        lstm = isinstance(self.encoder, nn.LSTMCell)
        h = c = x.new_zeros(len(x), self.encoder.hidden_size)
        states = []
        for month in range(self.lookback):
            seen = observed[:, month, None]
            after = self.encoder(x[:, month], (h, c) if lstm else h)
            new_h, new_c = after if lstm else (after, c)
            h, c = torch.where(seen, new_h, h), torch.where(seen, new_c, c)
            states.append(h)
        encoded = torch.stack(states, dim=1)
        decoded = []
        for _ in range(self.lookback):
            scores = torch.einsum("bh,hg,blg->bl", h, self.attention, encoded)
            weights = torch.softmax(scores.masked_fill(~observed, -torch.inf), dim=1)
            context = torch.einsum("bl,blh->bh", weights, encoded)
            after = self.decoder(context, (h, c) if lstm else h)
            h, c = after if lstm else (after, c)
            decoded.append(h)
        return self.linear(torch.cat(decoded, dim=1))


class PlainLinear(nn.Module):
    """f_t = W x_t + b."""

    lookback = 1

    def __init__(self, inputs: int, factors: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, factors)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:  # noqa: ARG002
        return self.linear(x[:, -1])


class PlainModel(nn.Module):
    """beta(z)' f(x) with torch's own batch norm."""

    def __init__(
        self, characteristics: int, hidden: tuple[int, ...], factors: int, factor: nn.Module
    ) -> None:
        super().__init__()
        widths = [characteristics, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, hidden, strict=False):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.beta = nn.Sequential(*layers, nn.Linear(widths[-1], factors))
        self.factor = factor

    def penalised(self) -> list[nn.Parameter]:
        """Weights and biases, without scale and shift of batch norm."""
        norms = {id(p) for m in self.modules() if isinstance(m, nn.BatchNorm1d) for p in m.parameters()}
        return [p for p in self.parameters() if id(p) not in norms and p.requires_grad]


def plain_model(
    family: str, state: dict[str, np.ndarray[Any, Any]], hidden: tuple[int, ...], lookback: int
) -> PlainModel:
    """A model of the ordinary kind with the weights of a stacked member (its arrays, one member)."""
    weights = {name: torch.tensor(np.asarray(array)) for name, array in state.items()}
    factors, characteristics = (
        len(weights["betas.0.bias"]),
        weights["betas.0.weights.0" if hidden else "betas.0.output"].shape[-1],
    )
    if family in CELLS:
        _, units, inputs = weights["factor.encoder.input_weight"].shape
        factor: nn.Module = PlainFactors(family, inputs, units, lookback, factors)
    else:
        factor = PlainLinear(weights["factor.weight"].shape[-1], factors)
    model = PlainModel(characteristics, hidden, factors, factor)
    with torch.no_grad():
        for depth in range(len(hidden)):
            model.beta[3 * depth].weight.copy_(weights[f"betas.0.weights.{depth}"])
            norm = model.beta[3 * depth + 1]
            for theirs, ours in (
                ("weight", "scale"),
                ("bias", "shift"),
                ("running_mean", "mean"),
                ("running_var", "variance"),
            ):
                getattr(norm, theirs).copy_(weights[f"betas.0.norms.{depth}.{ours}"])
        model.beta[-1].weight.copy_(weights["betas.0.output"])
        model.beta[-1].bias.copy_(weights["betas.0.bias"])
        factor.linear.weight.copy_(weights["factor.weight"].reshape(factors, -1))
        factor.linear.bias.copy_(weights["factor.bias"])
        if family in CELLS:
            factor.attention.copy_(weights["factor.attention"])
            for name in ("encoder", "decoder"):
                cell = getattr(factor, name)
                for theirs, ours in (
                    ("weight_ih", "input_weight"),
                    ("weight_hh", "hidden_weight"),
                    ("bias_ih", "bias"),
                ):
                    gates = weights[f"factor.{name}.{ours}"]
                    getattr(cell, theirs).copy_(gates[GATES[family]].flatten(0, 1))
    return model


class PlainMonths:
    """A sample as tensors; every batch is copied together, as usual."""

    def __init__(self, sample: Any, dtype: torch.dtype = torch.float32) -> None:
        panel = sample.panel.with_returns()
        self.z = torch.tensor(panel.characteristics, dtype=dtype)
        self.r = torch.tensor(panel.excess_return * PERCENT, dtype=dtype)
        self.rows = [panel.rows(t) for t in range(len(sample))]
        self.sizes = np.diff(panel.offsets)
        self.x = torch.tensor(sample.managed.x * PERCENT, dtype=dtype)
        self.first = sample.lookback

    def gather(self, batch: np.ndarray[Any, Any], lookback: int) -> tuple[Tensor, ...]:
        """z, r, month of each row, sequences (B, L, Q), observed (B, L)."""
        z = torch.cat([self.z[self.rows[t]] for t in batch])
        r = torch.cat([self.r[self.rows[t]] for t in batch])
        month = torch.repeat_interleave(torch.arange(len(batch)), torch.from_numpy(self.sizes[batch]))
        positions = torch.from_numpy(batch + self.first)[:, None] + torch.arange(1 - lookback, 1)
        observed = positions >= 0
        x = torch.where(observed[..., None], self.x[positions.clamp(min=0)], 0.0)
        return z, r, month, x, observed


def train_plainly(
    model: PlainModel, l1: float, rate: float, months: tuple[PlainMonths, PlainMonths],
    *, max_epochs: int, patience: int, batch_months: int, order: np.random.Generator,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Adam, l1, early stopping; losses per epoch. The model keeps the best epoch's weights."""
    train, validation = months
    lookback = model.factor.lookback
    held_out = validation.gather(np.arange(len(validation.rows)), lookback)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    best, train_loss, validation_loss = copy.deepcopy(model.state_dict()), [], []
    for _ in range(max_epochs):
        model.train()
        squares, shuffled = 0.0, order.permutation(len(train.rows))
        for start in range(0, len(shuffled), batch_months):
            batch = shuffled[start : start + batch_months]
            optimiser.zero_grad(set_to_none=True)
            loss = mean_squared_residual(model, *train.gather(batch, lookback))
            (loss + l1 * sum(p.abs().sum() for p in model.penalised())).backward()
            optimiser.step()
            squares += float(loss.detach()) * int(train.sizes[batch].sum())
        model.eval()
        with torch.inference_mode():
            now = float(mean_squared_residual(model, *held_out))
        if not math.isfinite(now):
            break
        train_loss.append(squares / int(train.sizes.sum()))
        validation_loss.append(now)
        lowest = int(np.argmin(validation_loss))
        if lowest == len(validation_loss) - 1:
            best = copy.deepcopy(model.state_dict())
        elif len(validation_loss) - 1 - lowest >= patience:
            break
    model.load_state_dict(best)
    return train_loss, validation_loss


def mean_squared_residual(
    model: PlainModel, z: Tensor, r: Tensor, month: Tensor, x: Tensor, observed: Tensor
) -> Tensor:
    """Mean over stock-months of (r - beta' f)^2."""
    residual = r - (model.beta(z) * model.factor(x, observed)[month]).sum(dim=1)
    return torch.mean(residual * residual)
