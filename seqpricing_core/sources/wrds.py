"""CRSP and Compustat from WRDS: stocks by month and day, statements, links, Fama-French factors.

Where to get it: a WRDS account (https://wrds-www.wharton.upenn.edu) with CRSP stock, Compustat North America
and CCM. Put ``wrds-pgdata.wharton.upenn.edu:9737:wrds:USER:PASSWORD`` into ``~/.pgpass`` (``chmod 600``); the
study file names a ``cache`` folder and no credential. What a study needs is copied there once, by table and
year (`wrds_copy`); after that no server is asked.

CRSP in its current layout (``ciz``: ``msf_v2, dsf_v2, stkdelists``), in which monthly returns hold the
delisting return already, or the legacy one (``msf, dsf, msenames, msedelist``), in which it is compounded in
here; `delisting` fills what is missing in both. `crsp` and `compustat` say what their columns mean.

All securities are kept; what is no common share on NYSE, AMEX or NASDAQ loses its market equity and so stays
outside a universe that requires size (``securities: all`` keeps it). Dropped: rows without a security.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from seqpricing_core.source_configs import WrdsSource
from seqpricing_core.sources import compustat, crsp
from seqpricing_core.sources.daily_aggregates import aggregate_days
from seqpricing_core.sources.delisting import with_delisting_returns
from seqpricing_core.sources.wrds_copy import ServerTable, copy_tables, file_of, read_copied
from seqpricing_core.tables import FACTOR_DAYS, FACTORS, STATEMENTS, STOCK_DAYS, STOCK_MONTHS, check_table


def _columns(**kinds: str) -> dict[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


MSF = ServerTable(
    "crsp.msf",
    _columns(int8="permno permco", date="date", float8="ret prc askhi vol shrout cfacpr cfacshr"),
    day="date",
)
DSF = ServerTable(
    "crsp.dsf",
    _columns(int8="permno", date="date", float8="ret prc askhi bidlo bid ask vol shrout cfacpr cfacshr"),
    day="date",
)
MSENAMES = ServerTable("crsp.msenames", _columns(int8="permno shrcd exchcd siccd", date="namedt nameendt"))
MSEDELIST = ServerTable("crsp.msedelist", _columns(int8="permno dlstcd", date="dlstdt", float8="dlret"))
SECURITY = "sharetype securitytype securitysubtype usincflg issuertype primaryexch"
MSF_V2 = ServerTable(
    "crsp.msf_v2",
    _columns(
        int8="permno permco siccd",
        date="mthcaldt",
        float8="mthret mthprc mthcap mthvol shrout mthcumfacpr mthcumfacshr",
        text=f"{SECURITY} mthdelflg",
    ),
    day="mthcaldt",
)
DSF_V2 = ServerTable(
    "crsp.dsf_v2",
    _columns(
        int8="permno",
        date="dlycaldt",
        float8="dlyret dlyprc dlyhigh dlylow dlybid dlyask dlyvol shrout dlycumfacpr dlycumfacshr",
    ),
    day="dlycaldt",
)
STKDELISTS = ServerTable(
    "crsp.stkdelists",
    _columns(int8="permno", date="delistingdt deldlydt", float8="delret", text="delactiontype delreasontype"),
)
STANDARD = "indfmt = 'INDL' and datafmt = 'STD' and popsrc = 'D' and consol = 'C'"
FUNDA = ServerTable(
    "comp.funda",
    _columns(text="gvkey", date="datadate", int8="fyear")
    | dict.fromkeys((*compustat.ANNUAL, "csho", "ajex", "emp", "txfed", "txfo", "txdi"), "float8"),
    day="datadate",
    condition=f"{STANDARD} and curcd = 'USD'",
)
FUNDQ = ServerTable(
    "comp.fundq",
    _columns(text="gvkey", date="datadate", int8="fyearq fqtr")
    | dict.fromkeys((*compustat.QUARTERLY, *compustat.YEAR_TO_DATE, "cshoq", "ajexq"), "float8"),
    day="datadate",
    condition=f"{STANDARD} and curcdq = 'USD'",
)
LINKS = ServerTable(
    "crsp.ccmxpf_lnkhist",
    _columns(text="gvkey linkprim linktype", int8="lpermno lpermco", date="linkdt linkenddt"),
)
FACTORS_MONTHLY = ServerTable("ff.factors_monthly", _columns(date="date", float8="mktrf rf"))
FACTORS_DAILY = ServerTable("ff.factors_daily", _columns(date="date", float8="mktrf rf smb hml"), day="date")

DELISTING_CODES = {"MER": 200, "GEX": 300, "GLI": 400, "GDR": 500}
"""CIZ actions as the hundreds of the legacy codes: merged, exchanged, liquidated, dropped. The reason of a
drop is free of a code there, so every drop counts as performance-related where its return is missing."""


@dataclass(frozen=True)
class Wrds:
    """Reads the cache of a study's WRDS source; `copy` fills it."""

    source: WrdsSource

    def tables(self) -> list[ServerTable]:
        """The server's tables that this study needs."""
        legacy, daily = self.source.layout == "legacy", self.source.daily
        prices = [MSF, MSENAMES, MSEDELIST] if legacy else [MSF_V2, STKDELISTS]
        days = [DSF if legacy else DSF_V2, FACTORS_DAILY] if daily else []
        statements = {"both": [FUNDA, FUNDQ], "annual": [FUNDA], "quarterly": [FUNDQ]}[self.source.statements]
        return [*prices, *days, *statements, LINKS, FACTORS_MONTHLY]

    def copy(self, first_year: int, last_year: int) -> list[Path]:
        """Copy what the cache lacks of these years, and of the two before for statements of long ago."""
        return copy_tables(self.source, self.tables(), range(first_year - 2, last_year + 1))

    def files(self) -> list[Path]:
        return sorted(
            file for table in self.tables() for file in (self.source.cache / table.name).glob("*.parquet")
        )

    def stock_months(self, year: int) -> pl.DataFrame:
        """Total returns; a delisting after the last day of December belongs to January."""
        rows = pl.concat([self._months(year - 1, december=True), self._months(year)])
        total = with_delisting_returns(rows, self._delistings).filter(pl.col("month").dt.year() == year)
        if self.source.securities == "common":
            total = crsp.without_market_equity_of_others(total)
        return check_table(
            crsp.with_daily_columns(total, self._aggregates(year)), STOCK_MONTHS, self._where(year)
        )

    def stock_days(self, year: int) -> pl.DataFrame | None:
        if not self.source.daily:
            return None
        return check_table(self._days(year), STOCK_DAYS, self._where(year))

    def statements(self, year: int) -> pl.DataFrame:
        """Statements that became public in ``year``; periods may have ended up to two years before."""
        parts = []
        if self.source.statements != "annual":
            rows = self._read(FUNDQ, range(year - 3, year + 1))
            parts.append(compustat.quarterly_statements(rows, self.source.quarterly_lag_months))
        if self.source.statements != "quarterly":
            rows = self._read(FUNDA, range(year - 2, year + 1))
            parts.append(compustat.annual_statements(rows, self.source.annual_lag_months))
        public = pl.concat(parts, how="diagonal").filter(pl.col("available_from").dt.year() == year)
        linked = compustat.link_statements(public, read_copied(self.source.cache, LINKS, None))
        return check_table(linked, STATEMENTS, self._where(year))

    def factors(self, year: int) -> pl.DataFrame:
        rows = read_copied(self.source.cache, FACTORS_MONTHLY, None).select(
            pl.col("date").dt.month_end().alias("month"), risk_free="rf", market_excess="mktrf"
        )
        return check_table(rows.filter(pl.col("month").dt.year() == year), FACTORS, self._where(year))

    def factor_days(self, year: int) -> pl.DataFrame | None:
        if not self.source.daily:
            return None
        rows = self._read(FACTORS_DAILY, [year])
        named = rows.select(day="date", risk_free="rf", market_excess="mktrf", size="smb", value="hml")
        return check_table(named, FACTOR_DAYS, self._where(year))

    def inputs(self) -> frozenset[str]:
        found = {
            f"stock_months.{column}"
            for column in STOCK_MONTHS.columns
            if column not in ("asset_id", "month")
            and (self.source.daily or column not in ("trading_days", "zero_volume_days",
                                                     "sum_squared_daily_returns", "maximum_daily_return"))
        }  # fmt: skip
        found |= {"factors.risk_free", "factors.market_excess"}
        if self.source.daily:
            found |= {
                f"stock_days.{column}" for column in STOCK_DAYS.columns if column not in ("asset_id", "day")
            }
            found |= {f"factor_days.{column}" for column in FACTOR_DAYS.columns if column != "day"}
        items: set[str] = {"shares", "period_months"}
        if self.source.statements != "annual":
            items |= {*compustat.QUARTERLY.values(), *compustat.YEAR_TO_DATE.values(), "quarterly"}
        if self.source.statements != "quarterly":
            items |= {*compustat.ANNUAL.values(), "employees", "current_income_taxes", "annual"}
        return frozenset(found | {f"statements.{item}" for item in items})

    def _where(self, year: int) -> str:
        return f"{self.source.cache}, {year}"

    def _read(self, table: ServerTable, years: Iterable[int]) -> pl.DataFrame:
        return pl.concat([read_copied(self.source.cache, table, year) for year in years])

    def _months(self, year: int, *, december: bool = False) -> pl.DataFrame:
        rows = self._legacy_months(year) if self.source.layout == "legacy" else self._ciz_months(year)
        if december:
            rows = rows.filter(pl.col("day").dt.month() == 12)
        return crsp.canonical_months(rows)

    def _legacy_months(self, year: int) -> pl.DataFrame:
        """``msf`` beside the name record that was valid on the day."""
        names = read_copied(self.source.cache, MSENAMES, None).sort("namedt")
        rows = (
            self._read(MSF, [year])
            .drop_nulls("permno")
            .sort("date")
            .join_asof(names, left_on="date", right_on="namedt", by="permno", check_sortedness=False)
        )
        current = pl.col("nameendt").is_null() | (pl.col("date") <= pl.col("nameendt"))
        rows = rows.with_columns(
            pl.when(current).then(pl.col(column)).alias(column) for column in ("shrcd", "exchcd", "siccd")
        )
        return rows.select(
            asset_id="permno",
            company_id="permco",
            day="date",
            ret="ret",
            prc="prc",
            prc_high="askhi",
            outstanding=pl.col("shrout") * 1000.0,
            volume=pl.col("vol") * 100.0,
            price_factor="cfacpr",
            share_factor="cfacshr",
            exchange=crsp.exchange_of_code("exchcd"),
            common_share=pl.col("shrcd").is_in(crsp.COMMON_SHARE_CODES),
            sic=crsp.sic("siccd"),
        )

    def _ciz_months(self, year: int) -> pl.DataFrame:
        """``msf_v2``; the row of a delisting has no security columns, and takes those of the month before."""
        text = SECURITY.split()
        carried = [*text, "siccd", "permco"]
        known = [pl.when(~pl.col(c).is_in(["", "N/A"])).then(pl.col(c)).alias(c) for c in text]
        rows = (
            pl.concat([self._december(year - 1), self._read(MSF_V2, [year])])
            .drop_nulls("permno")
            .with_columns(known)
            .sort("permno", "mthcaldt")
            .with_columns(
                pl.when(pl.col("mthdelflg") == "Y")
                .then(pl.col(carried).forward_fill().over("permno"))
                .otherwise(pl.col(carried))
            )
            .filter(pl.col("mthcaldt").dt.year() == year)
        )
        ordinary = (
            (pl.col("sharetype") == "NS")
            & (pl.col("securitytype") == "EQTY")
            & (pl.col("securitysubtype") == "COM")
            & (pl.col("usincflg") == "Y")
            & pl.col("issuertype").is_in(["ACOR", "CORP"])
        )
        return rows.select(
            asset_id="permno",
            company_id="permco",
            day="mthcaldt",
            ret="mthret",
            prc="mthprc",
            prc_high=pl.lit(None, dtype=pl.Float64),
            capitalisation=pl.col("mthcap") * 1000.0,
            outstanding=pl.col("shrout") * 1000.0,
            volume="mthvol",
            price_factor="mthcumfacpr",
            share_factor="mthcumfacshr",
            exchange=crsp.exchange_of_letter("primaryexch"),
            common_share=ordinary,
            sic=crsp.sic("siccd"),
        )

    def _december(self, year: int) -> pl.DataFrame:
        return self._read(MSF_V2, [year]).filter(pl.col("mthcaldt").dt.month() == 12)

    @cached_property
    def _delistings(self) -> pl.DataFrame:
        """``delisting_return`` that is still to be compounded: CIZ returns hold those that are known."""
        if self.source.layout == "legacy":
            rows = read_copied(self.source.cache, MSEDELIST, None)
            return rows.select(
                asset_id="permno",
                month=pl.col("dlstdt").dt.month_end(),
                delisting_code=pl.col("dlstcd").cast(pl.Int32),
                delisting_return=pl.when(pl.col("dlret") >= -1).then(pl.col("dlret")),
            ).unique("asset_id", keep="last", maintain_order=True)
        rows = read_copied(self.source.cache, STKDELISTS, None)
        held = pl.col("delret").is_not_null()
        day = pl.when(held).then(pl.coalesce("deldlydt", "delistingdt")).otherwise(pl.col("delistingdt"))
        return rows.select(
            asset_id="permno",
            month=day.dt.month_end(),
            delisting_code=pl.col("delactiontype")
            .replace_strict(DELISTING_CODES, default=None)
            .cast(pl.Int32),
            delisting_return=pl.when(held).then(0.0),  # in mthret already
        ).unique("asset_id", keep="last", maintain_order=True)

    def _aggregates(self, year: int) -> pl.DataFrame | None:
        return aggregate_days(self._days(year)) if self.source.daily else None

    def _days(self, year: int) -> pl.DataFrame:
        if self.source.layout == "legacy":
            rows = self._read(DSF, [year]).select(
                asset_id="permno", day="date", ret="ret", prc="prc", prc_high="askhi", prc_low="bidlo",
                bid="bid",
                ask="ask", volume="vol", outstanding=pl.col("shrout") * 1000.0, price_factor="cfacpr",
                share_factor="cfacshr",
            )  # fmt: skip
        else:
            rows = self._read(DSF_V2, [year]).select(
                asset_id="permno", day="dlycaldt", ret="dlyret", prc="dlyprc", prc_high="dlyhigh",
                prc_low="dlylow",
                bid="dlybid", ask="dlyask", volume="dlyvol", outstanding=pl.col("shrout") * 1000.0,
                price_factor="dlycumfacpr", share_factor="dlycumfacshr",
            )  # fmt: skip
        return crsp.canonical_days(rows.drop_nulls("asset_id"))


__all__ = ["Wrds", "file_of"]
