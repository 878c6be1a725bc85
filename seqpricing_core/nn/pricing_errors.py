"""Pricing errors of a stochastic discount factor on a ragged panel (Chen, Pelger, Zhu 2023).

n stock-months, T months, N assets, K portfolios, D instruments. Sums over the stocks of a month, and over the
months of an asset, are scattered sums over rows: deterministic on the CPU, and nobody loops over stocks.
The numbers of equations are those of `models.sdf_gan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StockMonths:
    """Month and asset of each row of a panel, every row with a return."""

    month: Tensor
    """(n,) 0 .. T-1"""
    asset: Tensor
    """(n,) 0 .. N-1"""
    stocks: Tensor
    """(T,) N_t, number of stocks of a month."""
    months: Tensor
    """(N,) T_i, number of months of an asset."""


def portfolio_returns(weights: Tensor, returns: Tensor, rows: StockMonths) -> Tensor:
    """(T, K) F_k,t = 1/N_t sum_i omega_ik,t-1 r_it (eq. 1).

    Parameters
    ----------
    weights : (n, K)
    returns : (n,)
    """
    return _sums(weights * returns[:, None], rows.month, len(rows.stocks)) / rows.stocks[:, None]


def discount_factor(portfolios: Tensor) -> Tensor:
    """(T,) M_t = 1 - sum_k F_k,t (eq. 2)."""
    return 1 - portfolios.sum(dim=1)


def pricing_errors(discount: Tensor, returns: Tensor, instruments: Tensor, rows: StockMonths) -> Tensor:
    """(N, D) alpha_i = 1/T_i sum_t M_t r_it g_i,t-1 over the months of asset i (eq. 3).

    Parameters
    ----------
    discount : (T,)
    returns : (n,)
    instruments
        (n, D); a column of ones gives the unconditional errors.
    """
    priced = (discount[rows.month] * returns)[:, None] * instruments
    return _sums(priced, rows.asset, len(rows.months)) / rows.months[:, None]


def pricing_loss(errors: Tensor, rows: StockMonths) -> Tensor:
    """Mean over assets and instruments of T_i / T times alpha_i squared (eq. 4)."""
    share = rows.months / len(rows.stocks)
    return torch.mean(share[:, None] * errors**2)


def unexplained_variation(weights: Tensor, returns: Tensor, rows: StockMonths) -> Tensor:
    """Share of the variation of returns that portfolio weights, used as loadings, leave unexplained (eq. 5).

    In each month r_t is projected on the K columns of omega_t-1; months count equally. For K = 1 this is
    the residual loss of the authors' code.
    """
    count, k = len(rows.stocks), weights.shape[1]
    pairs = [
        _sums((weights[:, a] * weights[:, b])[:, None], rows.month, count)
        for a in range(k)
        for b in range(a + 1)
    ]
    lower = torch.tril_indices(k, k)
    gram = weights.new_zeros(count, k, k)
    gram[:, lower[0], lower[1]] = torch.cat(pairs, dim=1)
    gram = gram + torch.tril(gram, -1).mT
    # A touch of ridge: columns can coincide, and a month can have fewer stocks than portfolios.
    scale = torch.diagonal(gram, dim1=1, dim2=2).mean(dim=1).detach() + torch.finfo(weights.dtype).tiny
    gram = gram + 1e-6 * scale[:, None, None] * torch.eye(k, dtype=weights.dtype, device=weights.device)
    cross = _sums(weights * returns[:, None], rows.month, count)
    explained = (cross * torch.linalg.solve(gram, cross)).sum(dim=1)
    squares = _sums((returns**2)[:, None], rows.month, count)[:, 0]
    unexplained: Tensor = 1 - (explained / rows.stocks).sum() / (squares / rows.stocks).sum()
    return unexplained


def _sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """(count, C) sums of the rows (n, C) of each group."""
    return values.new_zeros(count, values.shape[1]).index_add(0, groups, values)
