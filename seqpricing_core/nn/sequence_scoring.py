"""Forecasts month by month: each stock-month is projected once and gathered by all windows that hold it.

A month's forecasts depend on nothing but that month's `MonthKnown`, bit for bit: projections are made per
month, so that neither later months nor what else is forecast in the same call can change their rounding.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from seqpricing_core.nn.months import PERCENT
from seqpricing_core.nn.sequence_batch import SequenceBatch, longest_first
from seqpricing_core.nn.sequence_network import SequenceNetwork
from seqpricing_core.panel.panel import Float32, Float64, Int64, MonthKnown
from seqpricing_core.panel.sequences import ABSENT, Windows

CHUNK = 1024
"""Windows scored at once: their states stay in a cache."""


class MonthlyScorer:
    """Holds the projections of the last L months, so that consecutive months share them.

    Parameters
    ----------
    lookback, minimum_months
        As in the config of the model.
    """

    def __init__(self, network: SequenceNetwork, lookback: int, minimum_months: int) -> None:
        self._network, self._lookback, self._minimum = network, lookback, minimum_months
        self._seats: list[tuple[np.datetime64, Int64] | None] = [None] * lookback
        """Month in each seat of the table, and its asset ids, ascending"""
        self._table = torch.empty(0)
        self._size = 0
        """Rows of a seat"""

    @torch.inference_mode()
    def forecast(self, known: MonthKnown) -> Float64:
        """(N,) decimal expected returns; see ``minimum_months`` for stocks with too short a past."""
        windows = self._windows(known)
        enough = np.flatnonzero(windows.lengths >= self._minimum)
        returns = np.zeros(len(known.asset_id))
        for part, batch in self._batches(windows, enough):
            returns[part] = self._network(self._table, batch).double().cpu().numpy() / PERCENT
        if len(enough) and len(enough) < len(returns):
            short = np.ones(len(returns), dtype=bool)
            short[enough] = False
            returns[short] = returns[enough].mean()
        return returns

    @torch.inference_mode()
    def attend(self, known: MonthKnown) -> Float64 | None:
        """(N, L) attention of each stock to the months up to its newest, oldest first; None without any."""
        windows = self._windows(known)
        weights = np.zeros(windows.rows.shape)
        for part, batch in self._batches(windows, np.arange(len(weights))):
            attention = self._network.attend(self._table, batch)
            if attention is None:
                return None
            weights[part] = attention.double().cpu().numpy()
        return weights

    def _batches(self, windows: Windows, chosen: Int64) -> Iterable[tuple[Int64, SequenceBatch]]:
        order = chosen[longest_first(windows.lengths[chosen])]
        for start in range(0, len(order), CHUNK):
            part = order[start : start + CHUNK]
            yield part, SequenceBatch.of(Windows(windows.rows[part]), self._table.device)

    def _windows(self, known: MonthKnown) -> Windows:
        """Rows of the table, after it has been brought up to the month of ``known``."""
        past = known.past
        wanted = known.month - np.arange(self._lookback - 1, -1, -1)
        if past is not None and len(past.months):
            stops = dict(zip(past.months.tolist(), range(len(past.months)), strict=True))
            for month in wanted[:-1]:
                if (s := stops.get(month.item())) is not None:
                    there = slice(int(past.offsets[s]), int(past.offsets[s + 1]))
                    self._seat(month, past.asset_id[there], past.characteristics[there])
        self._seat(known.month, known.asset_id, known.characteristics, again=True)
        rows = np.full((len(known.asset_id), self._lookback), ABSENT, dtype=np.int32)
        seats = {held[0].item(): (seat, held[1]) for seat, held in enumerate(self._seats) if held}
        for place, month in enumerate(wanted[:-1]):
            seat, ids = seats.get(month.item(), (0, known.asset_id[:0]))
            if len(ids):
                found = np.searchsorted(ids, known.asset_id)
                found[found == len(ids)] = 0
                same = ids[found] == known.asset_id
                rows[same, place] = seat * self._size + found[same]
        rows[:, -1] = self._seat_of(known.month) * self._size + np.arange(len(rows))
        return Windows(rows)

    def _seat_of(self, month: np.datetime64) -> int:
        return int(month.astype("datetime64[M]").astype(int)) % self._lookback

    def _seat(self, month: np.datetime64, ids: Int64, z: Float32, *, again: bool = False) -> None:
        """Project a month into its seat, unless it is there."""
        seat = self._seat_of(month)
        held = self._seats[seat]
        if held is not None and held[0] == month and not again:
            return
        device = self._network.bias.device
        projected = self._network.project(torch.tensor(z, device=device))
        self._make_room(len(ids), projected)
        start = seat * self._size
        self._table[start : start + len(ids)] = projected
        self._seats[seat] = (month, ids)

    def _make_room(self, rows: int, like: Tensor) -> None:
        if rows <= self._size and self._table.shape[1:] == like.shape[1:]:
            return
        size = rows + rows // 8
        table = like.new_zeros(self._lookback * size, like.shape[1])
        for seat, held in enumerate(self._seats):
            if held is not None:
                count = len(held[1])
                table[seat * size : seat * size + count] = self._table[
                    seat * self._size : seat * self._size + count
                ]
        self._table, self._size = table, size
