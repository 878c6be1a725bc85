"""Passes over stock-months: sums of squared residuals of r - beta(z)' f, and moments of hidden layers.

Given f_t, beta(z)' f_t = h(z)' v_t + c_t with v_t = W_out' f_t and c_t = b_out' f_t: the output layer melts
into H numbers per month and member. No loading of a stock is ever stored, and no hidden layer either: values
and gradients are worked out block by block in the cache, as autograd functions of the few weights. A loss
is a scalar per member, so its forward pass already knows the gradients; moments are passed again on the way
back.

Weights have their batch norm folded in and carry the bias as last column: (M, H, inputs + 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqpricing_core.nn.residuals import split_layer, where_active

Month = tuple[Tensor, Tensor]
"""[z 1] (N, P+1) and r (N,) in percent."""


@dataclass(frozen=True)
class Pass:
    """Months to pass over, and how many values of hidden layers to hold at once.

    z may be in bfloat16: then a single hidden layer is worked out in it, several are not.
    """

    months: Sequence[Month]
    block: int

    def columns(self, rows: int) -> int:
        """Stocks in the largest block if ``rows`` values are held per stock."""
        return min(max(256, self.block // rows), max(len(r) for _, r in self.months))

    def blocks(self, rows: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Position of the month, z and r of some of its stocks."""
        columns = self.columns(rows)
        for month, (z, r) in enumerate(self.months):
            for start in range(0, len(r), columns):
                yield month, z[start : start + columns], r[start : start + columns]


def squared_residuals(weights: Sequence[Tensor], v: Tensor, c: Tensor, stocks: Pass) -> Tensor:
    """(M,) sum over stock-months of (r - h(z)' v_t - c_t)^2, h(z) the last of several hidden layers.

    Parameters
    ----------
    weights
        Of each hidden layer.
    v, c
        (M, B, H) and (M, B).
    stocks
        B months.
    """
    losses: Tensor = _DeepLoss.apply(stocks, v, c, *weights)  # type: ignore[no-untyped-call]
    return losses


def squared_residuals_of_groups(
    weights: Sequence[Tensor], v: Sequence[Tensor], c: Sequence[Tensor], stocks: Pass
) -> tuple[Tensor, ...]:
    """The same for one hidden layer and members in groups of different widths, in one pass.

    Every group has its weights (M, H, P+1), v (M, B, H) and c (M, B); together they fill the matrix
    products that small ones would leave half empty.
    """
    losses: tuple[Tensor, ...] = _OneLayerLoss.apply(  # type: ignore[no-untyped-call]
        stocks, len(weights), *weights, *v, *c
    )
    return losses


def hidden_moments(weights: Sequence[Tensor], stocks: Pass) -> tuple[Tensor, Tensor]:
    """(M, H) sum of h and (M, H, H) sum of h h' over stock-months, h the last hidden layer; float64."""
    total, second = _HiddenMoments.apply(stocks, *weights)  # type: ignore[no-untyped-call]
    return total, second


class _OneLayerLoss(torch.autograd.Function):
    """Two matrix products per block, A = W z and S = D z with D = 1(A > 0) e, and a little in between.

    From S of a month follow the gradients of W (v_t S) and of v_t (the diagonal of W S'), since
    sum_n e_n relu(W z_n) = sum_n D_n W z_n. Blocks are worked out in the precision of z, sums over blocks in
    that of the weights.
    """

    @staticmethod
    def forward(ctx: Any, stocks: Pass, groups: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        weights, v, c = (tensors[place : place + groups] for place in range(0, 3 * groups, groups))
        flat = torch.cat([weight.flatten(0, 1) for weight in weights])
        v_rows = torch.cat([one.mT.flatten(0, 1) for one in v]).mT.contiguous()
        c_members = torch.cat(list(c)).mT.contiguous()
        widths = [weight.shape[1] for weight in weights for _ in weight]
        wanted = any(ctx.needs_input_grad)
        losses = flat.new_zeros(len(widths), dtype=torch.float64)
        products = flat.new_zeros(len(stocks.months) if wanted else 0, *flat.shape)
        d_c = torch.zeros_like(c_members)
        w = flat.to(stocks.months[0][0].dtype)
        # One piece of memory for all blocks: fresh pages for each would cost as much as the arithmetic.
        memory = w.new_empty(len(flat) * stocks.columns(len(flat)))
        for month, z, r in stocks.blocks(len(flat)):
            layer = memory[: len(flat) * len(r)].view(len(flat), len(r))
            torch.mm(w, z.mT, out=layer)
            residuals = split_layer(layer, r, v_rows[month], c_members[month], widths, flows=wanted)
            losses += residuals.squares
            if wanted:
                products[month, :, :-1] += torch.mm(layer, z[:, :-1])
                products[month, :, -1] += residuals.flow
                d_c[month] += residuals.sums
        members = [len(one) for one in c]
        if wanted:
            products *= -2
            d_v = torch.einsum("brp,rp->rb", products, flat)
            d_weight = torch.einsum("brp,br->rp", products, v_rows)
            shapes = [weight.shape[:2] for weight in weights]
            ctx.save_for_backward(
                *_by_group(d_weight, shapes),
                *(one.mT for one in _by_group(d_v, shapes)),
                *torch.split(-2 * d_c.mT, members),
            )
        return torch.split(losses.to(flat.dtype), members)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        saved, groups = ctx.saved_tensors, len(upstream)
        scaled = [_scaled(upstream[group], saved[group::groups]) for group in range(groups)]
        return None, None, *(each[kind] for kind in range(3) for each in scaled)


class _DeepLoss(torch.autograd.Function):
    """Several hidden layers: forward and backward through all of them while a block is in the cache."""

    @staticmethod
    def forward(ctx: Any, stocks: Pass, v: Tensor, c: Tensor, *weights: Tensor) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        losses = v.new_zeros(len(v), dtype=torch.float64)
        d_v, d_c = torch.zeros_like(v), torch.zeros_like(c)
        d_weights = [torch.zeros_like(weight) for weight in weights]
        for month, z_low, r in stocks.blocks(_rows(weights)):
            z = z_low.to(v.dtype)
            layers = _forward(weights, z)
            v_t = v[:, month, None]
            residual = torch.baddbmm(r - c[:, month, None, None], v_t, layers[-1], alpha=-1)
            losses += residual.square().sum((1, 2), dtype=torch.float64)
            if wanted:
                residual *= -2
                d_v[:, month] += torch.bmm(layers[-1], residual.mT)[..., 0]
                d_c[:, month] += residual.sum((1, 2))
                _backward(weights, layers, z, v_t.mT * residual, d_weights)
        if wanted:
            ctx.save_for_backward(d_v, d_c, *d_weights)
        return losses.to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_scaled(upstream[0], ctx.saved_tensors)


class _HiddenMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stocks: Pass, *weights: Tensor) -> tuple[Tensor, Tensor]:
        members, hidden, _ = weights[-1].shape
        total = weights[0].new_zeros(members, hidden, dtype=torch.float64)
        second = total.new_zeros(members, hidden, hidden)
        for _, z, _ in stocks.blocks(_rows(weights)):
            last = _forward(weights, z.to(weights[0].dtype))[-1]
            total += last.sum(2)
            second += torch.bmm(last, last.mT)
        ctx.stocks = stocks
        ctx.save_for_backward(*weights)
        return total, second

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        weights = ctx.saved_tensors
        d_total, d_second = (gradient.to(weights[0].dtype) for gradient in upstream)
        both = d_second + d_second.mT
        d_weights = [torch.zeros_like(weight) for weight in weights]
        for _, z_low, _ in ctx.stocks.blocks(_rows(weights)):
            z = z_low.to(weights[0].dtype)
            layers = _forward(weights, z)
            _backward(weights, layers, z, torch.baddbmm(d_total[..., None], both, layers[-1]), d_weights)
        return None, *d_weights


def _forward(weights: Sequence[Tensor], z: Tensor) -> list[Tensor]:
    """(M, H, N) values of each hidden layer."""
    members, hidden, width = weights[0].shape
    layers = [torch.mm(weights[0].reshape(-1, width), z.mT).relu_().view(members, hidden, -1)]
    for weight in weights[1:]:
        layers.append(torch.baddbmm(weight[..., -1:], weight[..., :-1], layers[-1]).relu_())
    return layers


def _backward(
    weights: Sequence[Tensor], layers: list[Tensor], z: Tensor, d_last: Tensor, d_weights: list[Tensor]
) -> None:
    """Add what a block contributes to the gradients of the weights; uses up ``layers``."""
    for depth in range(len(weights) - 1, 0, -1):
        d_last = where_active(d_last, layers[depth])
        d_weights[depth][..., :-1].baddbmm_(d_last, layers[depth - 1].mT)
        d_weights[depth][..., -1] += d_last.sum(2)
        d_last = torch.bmm(weights[depth][..., :-1].mT, d_last)
    d_last = where_active(d_last, layers[0])
    d_weights[0].view(-1, z.shape[1]).addmm_(d_last.view(-1, len(z)), z)


def _by_group(rows: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Rows of all groups, (sum of M H, n), as one (M, H, n) for each group; views."""
    parts = torch.split(rows, [members * hidden for members, hidden in shapes])
    return [part.view(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]


def _rows(weights: Sequence[Tensor]) -> int:
    return sum(weight.shape[0] * weight.shape[1] for weight in weights)


def _scaled(upstream: Tensor, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of each member's loss times what comes from above."""
    return [gradient * upstream.view(-1, *(1,) * (gradient.dim() - 1)) for gradient in gradients]
