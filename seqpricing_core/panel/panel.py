"""The panel: ragged by month, contiguous in memory, and cut in two by time.

What a forecast of month t may see (`MonthKnown`) and what month t then brought (`MonthOutcome`)
are different objects. A function that forecasts takes the first and cannot be handed the second.

N = stocks of a month, P = characteristics, T = months, n = stock-months.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seqpricing_core.months import Months

if TYPE_CHECKING:
    from seqpricing_core.panel.macro import MacroSeries
    from seqpricing_core.panel.managed_portfolios import ManagedPortfolios

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PastCharacteristics:
    """Characteristics that forecasts of earlier months were made from; no returns are among them.

    Rows by month, then asset: those of the s-th month, ``offsets[s]:offsets[s+1]``, hold z known at the end
    of the month before it. Views of the panel, not copies.
    """

    months: Months
    """(S,) ascending, all before the month to be forecast"""
    offsets: Int64
    """(S+1,)"""
    asset_id: Int64
    """(m,)"""
    characteristics: Float32
    """(m, P)"""


@dataclass(frozen=True)
class MonthKnown:
    """What is known at the end of month t-1, and all that a forecast of month t may use."""

    month: np.datetime64
    """The month t to be forecast."""
    asset_id: Int64
    """(N,)"""
    characteristics: Float32
    """(N, P) z_t-1, ranks in (-1, 1)."""
    market_equity: Float64
    """(N,) at the end of t-1, USD; NaN where unknown."""
    past_managed_portfolios: Float64
    """(S, P+1) x of the months before t that the sample holds, oldest first."""
    macro: Float64 | None = None
    """(S', M) macro series as known at the end of each month up to t-1, oldest first, so that the last row is
    the newest that a forecast of t may use; None where the study gives none."""
    past: PastCharacteristics | None = None
    """Of the months before t that the sample holds, for models that look back; with z_t-1 above as the newest
    month, they are the sequence up to t."""


@dataclass(frozen=True)
class MonthOutcome:
    """What month t brought. Factors are estimated from it; no forecast of t may see it."""

    month: np.datetime64
    excess_return: Float64
    """(N,) r_t, decimal, in excess of the risk-free rate; NaN for a stock that left."""
    managed_portfolios: Float64
    """(P+1,) x_t = (Z'Z)^-1 Z' r_t."""


@dataclass(frozen=True)
class Panel:
    """Stock-months, sorted by month, then asset. Row (i, t) holds z_i,t-1 and r_it.

    Its rows are the stocks known at the end of t-1, whether or not they then have a return: who leaves in
    month t is itself an outcome, and must not decide what a forecast is made for. Estimation and scores use
    `with_returns`.
    """

    suffix: ClassVar[str] = "arrow"

    characteristic_names: tuple[str, ...]
    months: Months
    """(T,) the months t, ascending; in every one at least one stock has a return."""
    offsets: Int64
    """(T+1,) rows of month t are offsets[t]:offsets[t+1]."""
    asset_id: Int64
    """(n,)"""
    characteristics: Float32
    """(n, P)"""
    excess_return: Float64
    """(n,) decimal; NaN for a stock without a return in t."""
    market_equity: Float64
    """(n,) USD at the end of t-1"""
    exchange: Codes | None = None
    """(n,) at the end of t-1, as a place in `tables.EXCHANGES`; -1 where unknown, None if all are."""
    sic: Codes | None = None
    """(n,) industry code at the end of t-1; -1 where unknown, None if all are."""

    def __len__(self) -> int:
        return len(self.asset_id)

    def rows(self, t: int) -> slice:
        """Rows of the t-th month."""
        return slice(int(self.offsets[t]), int(self.offsets[t + 1]))

    @property
    def month_of_row(self) -> Months:
        """(n,)"""
        months: Months = np.repeat(self.months, np.diff(self.offsets))
        return months

    def with_returns(self) -> Panel:
        """The stock-months that have a return; itself if all have."""
        keep = ~np.isnan(self.excess_return)
        return self if keep.all() else self.of_rows(keep)

    def of_rows(self, keep: npt.NDArray[np.bool_]) -> Panel:
        """Some of the rows, (n,) true for those kept; months stay, even one that is left empty."""
        return Panel(
            characteristic_names=self.characteristic_names,
            months=self.months,
            offsets=np.concatenate([[0], np.cumsum(keep)])[self.offsets],
            asset_id=self.asset_id[keep],
            characteristics=self.characteristics[keep],
            excess_return=self.excess_return[keep],
            market_equity=self.market_equity[keep],
            exchange=None if self.exchange is None else self.exchange[keep],
            sic=None if self.sic is None else self.sic[keep],
        )

    def past(self, months: int) -> PastCharacteristics:
        """The first so many months, without what they brought."""
        rows = slice(0, int(self.offsets[months]))
        return PastCharacteristics(
            self.months[:months],
            self.offsets[: months + 1],
            self.asset_id[rows],
            self.characteristics[rows],
        )

    def between(self, first_year: int, last_year: int) -> Panel:
        """The months of whole years, without a copy."""
        years = self.months.astype("datetime64[Y]").astype(int) + 1970
        start, stop = np.searchsorted(years, [first_year, last_year + 1])
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        return Panel(
            characteristic_names=self.characteristic_names,
            months=self.months[start:stop],
            offsets=self.offsets[start : stop + 1] - self.offsets[start],
            asset_id=self.asset_id[rows],
            characteristics=self.characteristics[rows],
            excess_return=self.excess_return[rows],
            market_equity=self.market_equity[rows],
            exchange=None if self.exchange is None else self.exchange[rows],
            sic=None if self.sic is None else self.sic[rows],
        )

    @classmethod
    def concatenate(cls, panels: Sequence[Panel]) -> Panel:
        """Years into one panel; they must follow each other and share their characteristics."""
        if len(panels) == 1:
            return panels[0]
        names = panels[0].characteristic_names
        for before, after in itertools.pairwise(panels):
            if after.characteristic_names != names:
                raise ValueError(
                    "panels must have the same characteristics in the same order. "
                    f"Got {names} and {after.characteristic_names}"
                )
            if len(before.months) and len(after.months) and after.months[0] <= before.months[-1]:
                raise ValueError(
                    f"panels must follow each other in time. Got {after.months[0]} after {before.months[-1]}"
                )
        counts = np.concatenate([np.diff(panel.offsets) for panel in panels])
        return cls(
            characteristic_names=names,
            months=np.concatenate([panel.months for panel in panels]),
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            asset_id=np.concatenate([panel.asset_id for panel in panels]),
            characteristics=np.concatenate([panel.characteristics for panel in panels]),
            excess_return=np.concatenate([panel.excess_return for panel in panels]),
            market_equity=np.concatenate([panel.market_equity for panel in panels]),
            exchange=_joined([panel.exchange for panel in panels], panels),
            sic=_joined([panel.sic for panel in panels], panels),
        )

    def to_bytes(self) -> bytes:
        """Arrow IPC, uncompressed: `from_files` maps it into memory instead of reading it."""
        n, width = self.characteristics.shape
        values = pa.array(np.ascontiguousarray(self.characteristics).reshape(-1))
        known = {"exchange": self.exchange, "sic": self.sic}
        table = pa.table(
            {
                "month": pa.array(self.month_of_row.astype("datetime64[D]")),
                "asset_id": pa.array(self.asset_id),
                "excess_return": pa.array(self.excess_return),
                "market_equity": pa.array(self.market_equity),
                **{name: pa.array(codes) for name, codes in known.items() if codes is not None},
                "characteristics": pa.FixedSizeListArray.from_arrays(values, width),
            }
        ).replace_schema_metadata({"characteristics": ",".join(self.characteristic_names)})
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(n, 1))
        return sink.getvalue()

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> Panel:
        """Map the files of consecutive years and join them."""
        return cls.concatenate([cls._from_file(path) for path in paths])

    @classmethod
    def _from_file(cls, path: Path) -> Panel:
        with pa.memory_map(str(path)) as source:
            return cls._read(source)

    @classmethod
    def from_bytes(cls, data: bytes) -> Panel:
        """What `to_bytes` gave."""
        return cls._read(pa.BufferReader(data))

    @classmethod
    def _read(cls, source: pa.NativeFile) -> Panel:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
        names = tuple(table.schema.metadata[b"characteristics"].decode().split(","))
        month_of_row = table["month"].to_numpy().astype("datetime64[M]")
        months, first_rows = np.unique(month_of_row, return_index=True)
        lists = table["characteristics"].combine_chunks()
        values = lists.values if isinstance(lists, pa.FixedSizeListArray) else lists.chunk(0).values
        return Panel(
            characteristic_names=names,
            months=months,
            offsets=np.append(first_rows, len(month_of_row)).astype(np.int64),
            asset_id=table["asset_id"].to_numpy(),
            characteristics=values.to_numpy(zero_copy_only=True).reshape(-1, len(names)),
            excess_return=table["excess_return"].to_numpy(),
            market_equity=table["market_equity"].to_numpy(),
            exchange=table["exchange"].to_numpy() if "exchange" in table.column_names else None,
            sic=table["sic"].to_numpy() if "sic" in table.column_names else None,
        )


def _joined(codes: Sequence[Codes | None], panels: Sequence[Panel]) -> Codes | None:
    """Codes of all years, unknown (-1) in years that have none; None if no year has them."""
    if all(of_year is None for of_year in codes):
        return None
    return np.concatenate([
        np.full(len(panel), -1, dtype=np.int32) if of_year is None else of_year
        for of_year, panel in zip(codes, panels, strict=True)
    ])  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """Stock-months of some months, and x_t of these months and of the look-back before them."""

    panel: Panel
    managed: ManagedPortfolios
    """Ends with the panel's months; may start earlier."""
    macro: MacroSeries | None = None
    """The same; None where the study gives no macro series."""
    history: Panel | None = None
    """The panel's months and the look-back before them, for models that read sequences of characteristics;
    None: the panel alone."""

    def __post_init__(self) -> None:
        if self.history is not None and (
            len(self.history) < len(self.panel)
            or not np.array_equal(self.history.months[-len(self) :], self.panel.months)
        ):
            raise ValueError(
                "the history must end with the panel's months. Got panel months "
                f"{_span(self.panel.months)} and history {_span(self.history.months)}"
            )
        if self.macro is not None and self.macro.months[-1:] != self.panel.months[-1:]:
            raise ValueError(
                "macro series must end with the panel's months. Got panel months "
                f"{_span(self.panel.months)} and macro series {_span(self.macro.months)}"
            )
        tail = self.managed.months[len(self.managed.months) - len(self.panel.months) :]
        if not np.array_equal(tail, self.panel.months):
            raise ValueError(
                "managed portfolios must end with the panel's months. Got panel months "
                f"{_span(self.panel.months)} and managed portfolios {_span(self.managed.months)}"
            )

    def __len__(self) -> int:
        """Number of months."""
        return len(self.panel.months)

    @property
    def lookback(self) -> int:
        """Months of x before the panel's first month."""
        return len(self.managed.months) - len(self.panel.months)

    def known(self, t: int) -> MonthKnown:
        """What is known before the t-th month of the panel begins."""
        rows = self.panel.rows(t)
        macro = self.macro
        history = self.history or self.panel
        return MonthKnown(
            month=self.panel.months[t],
            asset_id=self.panel.asset_id[rows],
            characteristics=self.panel.characteristics[rows],
            market_equity=self.panel.market_equity[rows],
            past_managed_portfolios=self.managed.x[: self.lookback + t],
            macro=None if macro is None else macro.values[: len(macro.months) - len(self) + t + 1],
            past=history.past(len(history.months) - len(self) + t),
        )

    def outcome(self, t: int) -> MonthOutcome:
        """What the t-th month of the panel brought."""
        return MonthOutcome(
            month=self.panel.months[t],
            excess_return=self.panel.excess_return[self.panel.rows(t)],
            managed_portfolios=self.managed.x[self.lookback + t],
        )


def _span(months: Months) -> str:
    return f"{months[0]} .. {months[-1]} ({len(months)} months)" if len(months) else "none"
