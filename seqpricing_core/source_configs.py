"""Sources of a study file, one config class per ``kind``; the adapters are in `seqpricing_core.sources`.

No class has a field for a password: credentials come from ``~/.pgpass`` or the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from seqpricing_core.models.configs import Config

LagMonths = Annotated[int, Field(ge=1, le=24)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]

GKX_CHARACTERISTICS = (
    "mvel1", "beta", "betasq", "chmom", "dolvol", "idiovol", "indmom", "mom1m", "mom6m", "mom12m",
    "mom36m", "pricedelay", "turn", "absacc", "acc", "age", "agr", "bm", "bm_ia", "cashdebt", "cashpr",
    "cfp", "cfp_ia", "chatoia", "chcsho", "chempia", "chinv", "chpmia", "convind", "currat", "depr",
    "divi", "divo", "dy", "egr", "ep", "gma", "grcapx", "grltnoa", "herf", "hire", "invest", "lev", "lgr",
    "mve_ia", "operprof", "orgcap", "pchcapx_ia", "pchcurrat", "pchdepr", "pchgm_pchsale", "pchquick",
    "pchsale_pchinvt", "pchsale_pchrect", "pchsale_pchxsga", "pchsaleinv", "pctacc", "ps", "quick", "rd",
    "rd_mve", "rd_sale", "realestate", "roic", "salecash", "saleinv", "salerec", "secured", "securedind",
    "sgr", "sin", "sp", "tang", "tb", "aeavol", "cash", "chtx", "cinvest", "ear", "nincr", "roaq",
    "roavol", "roeq", "rsup", "stdacc", "stdcf", "ms", "baspread", "ill", "maxret", "retvol",
    "std_dolvol", "std_turn", "zerotrade",
)  # fmt: skip
"""The 94 of Gu, Kelly, Xiu (2020), by the names and in the order of their file."""


class WrdsSource(Config):
    """CRSP and Compustat through WRDS's PostgreSQL server, copied once into ``cache``; see `sources.wrds`."""

    kind: Literal["wrds"]
    cache: Path
    layout: Literal["ciz", "legacy"] = "ciz"
    """``ciz``: ``msf_v2, dsf_v2``; ``legacy``: ``msf, dsf, msenames, msedelist``, which end in 2024."""
    securities: Literal["common", "all"] = "common"
    """``common``: what is no common share of a US firm on NYSE, AMEX or NASDAQ has no market equity, and so
    is outside a universe that requires ``mvel1``; its returns stay."""
    daily: bool = True
    statements: Literal["both", "quarterly", "annual"] = "both"
    quarterly_lag_months: LagMonths = 4
    annual_lag_months: LagMonths = 6
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")] = "wrds-pgdata.wharton.upenn.edu"
    port: Annotated[int, Field(ge=1, le=65535)] = 9737
    database: Annotated[str, Field(pattern=r"^\w+$")] = "wrds"
    encryption: Literal["require", "verify-full", "prefer", "disable"] = "require"
    attempts: Annotated[int, Field(ge=1, le=20)] = 5


class GkxFilesSource(Config):
    """Characteristics in the shape of Gu, Kelly, Xiu's file, and returns; see `sources.gkx_files`."""

    kind: Literal["gkx_files"]
    characteristics_file: Path
    returns: Path
    factors: Path
    month: Literal["priced", "known"] = "priced"
    """DATE is the month whose return the row prices, as they publish it; or the month at whose end it is
    known."""

    @property
    def ready_characteristics(self) -> tuple[str, ...]:
        return GKX_CHARACTERISTICS


class OpenAssetPricingSource(Config):
    """Signed firm-level predictors of Chen and Zimmermann, and returns; see `sources.open_asset_pricing`."""

    kind: Literal["open_asset_pricing"]
    predictors_file: Path
    predictors: Names
    """Columns of the file, such as BM, Mom12m."""
    returns: Path
    factors: Path

    @property
    def ready_characteristics(self) -> tuple[str, ...]:
        return self.predictors


class MappedFilesSource(Config):
    """A plain panel of your own, with your own names; see `sources.mapped_files`."""

    kind: Literal["mapped_files"]
    panel: Path
    columns: dict[str, str]
    """Ours to yours: ``asset_id`` and ``month``, ``ret``, and what else of `tables.STOCK_MONTHS` there is."""
    characteristics: dict[str, str]
    """Name in the study to your column."""
    month: Literal["priced", "known"]
    """Your row pairs characteristics with the return they price, or with the return of the month they end
    in."""
    returns: Literal["decimal", "percent"] = "decimal"
    excess_returns: bool = False
    """``ret`` is already in excess of the risk-free rate."""
    factors: Path

    @field_validator("characteristics")
    @classmethod
    def _some(cls, value: dict[str, str]) -> dict[str, str]:
        if not value:
            raise ValueError("at least one characteristic, such as {bm: book_to_market}")
        return value

    @property
    def ready_characteristics(self) -> tuple[str, ...]:
        return tuple(self.characteristics)

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class SecStatements(Config):
    """Statements as filed with the SEC; see `sources.sec_statements`."""

    format: Literal["company_facts", "data_sets", "point_in_time", "canonical"]
    path: Path
    """Folder of ``CIK0000320193.json`` (or ``companyfacts.zip``); folder of ``2023q1.zip``; a table."""
    tickers: Path | None = None
    """The SEC's ``company_tickers.json``; a ``point_in_time`` or ``canonical`` table needs none."""


class DailyFilesSource(Config):
    """Daily prices, one file per ticker or one long file, and statements; see `sources.daily_files`."""

    kind: Literal["daily_files"]
    prices: Path
    """A folder of ``ticker.csv`` (``.parquet``, ``.us.txt``), or one long file with a column of tickers."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Ours to yours, where yours are not ``ticker, Date, Open, High, Low, Close, Volume``."""
    adjusted: bool = True
    """Prices and volume are split-adjusted to the file's last day; false: as they traded."""
    splits: Path | None = None
    """``ticker, date, ratio`` (2 for two new shares per old one)."""
    statements: SecStatements | None = None
    factors: Path
    factor_days: Path | None = None

    @model_validator(mode="after")
    def _splits_where_needed(self) -> Self:
        if not self.adjusted and self.splits is None:
            raise ValueError("splits, a file ticker, date, ratio, for prices as they traded")
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


VendorSource = WrdsSource | GkxFilesSource | OpenAssetPricingSource | MappedFilesSource | DailyFilesSource
