"""Statements as filed with the SEC, each figure from the day it was filed.

Where to get it, free (the SEC asks for a User-Agent with your address, and 10 requests a second at most):

- ``company_facts``: https://www.sec.gov/Archives/edgar/daily-index/xbrl/companyfacts.zip (unpack it, or name
  the zip), or single ``https://data.sec.gov/api/xbrl/companyfacts/CIK0000320193.json``;
- ``data_sets``: https://www.sec.gov/dera/data/financial-statement-data-sets (``2023q1.zip`` and so on, in one
  folder);
- ``tickers``: https://www.sec.gov/files/company_tickers.json, today's tickers only: a firm that left has none
  there, so add its line;
- ``point_in_time``: a table ``ticker, period_end, available_date, net_income, total_assets, equity,
  operating_cf, capex`` of quarters, as circulates on public repositories.

XBRL begins in 2009. First filing rules: a row holds what was known on ``available_from``, and a later filing
that changes a figure makes a further row, never replaces one. A repeated figure makes none.

Quarters: flows of three months as filed, else the year to date less that of the quarter before, in the same
fiscal year; so a fourth quarter is the year less nine months. Annual rows hold the twelve months.

Dropped: forms other than 10-K and 10-Q (and their amendments), currencies other than US dollars, figures of
segments and of co-registrants, periods that end after they were filed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.csv

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import SecStatements
from seqpricing_core.sources.canonical_files import rows_of_year
from seqpricing_core.sources.public_files import asset_id_of, asset_ids
from seqpricing_core.sources.vendor_files import BLOCK_BYTES, as_days, damaged, refuse_duplicates
from seqpricing_core.storage import collect_table, require_columns, require_file, scan_table
from seqpricing_core.tables import BALANCE_ITEMS, FLOW_ITEMS, STATEMENT_ITEMS, STATEMENTS, check_table

FORMS = ("10-K", "10-Q", "10-K/A", "10-Q/A", "10-KT", "10-KT/A")

TAGS: dict[str, tuple[str, ...]] = {
    "assets": ("Assets",),
    "current_assets": ("AssetsCurrent",),
    "liabilities": ("Liabilities",),
    "current_liabilities": ("LiabilitiesCurrent",),
    "book_equity": ("StockholdersEquity",),
    "cash": ("CashCashEquivalentsAndShortTermInvestments", "CashAndCashEquivalentsAtCarryingValue"),
    "long_term_debt": ("LongTermDebtNoncurrent", "LongTermDebt"),
    "revenue": ("Revenues", "RevenueFromContractWithCustomerExcludingAssessedTax", "SalesRevenueNet"),
    "earnings": ("IncomeLossFromContinuingOperations", "NetIncomeLoss", "ProfitLoss"),
    "operating_cash_flow": (
        "NetCashProvidedByUsedInOperatingActivities",
        "NetCashProvidedByUsedInOperatingActivitiesContinuingOperations",
    ),
    "capital_expenditures": (
        "PaymentsToAcquirePropertyPlantAndEquipment",
        "PaymentsToAcquireProductiveAssets",
    ),
    "shares": ("EntityCommonStockSharesOutstanding", "CommonStockSharesOutstanding"),
    "inventory": ("InventoryNet",),
    "receivables": ("ReceivablesNetCurrent", "AccountsReceivableNetCurrent"),
    "property_plant_equipment": ("PropertyPlantAndEquipmentNet",),
    "gross_property_plant_equipment": ("PropertyPlantAndEquipmentGross",),
    "intangibles": ("IntangibleAssetsNetIncludingGoodwill",),
    "other_assets": ("OtherAssetsNoncurrent",),
    "payables": ("AccountsPayableCurrent",),
    "other_current_assets": ("OtherAssetsCurrent",),
    "other_current_liabilities": ("OtherLiabilitiesCurrent",),
    "short_term_debt": ("DebtCurrent", "LongTermDebtCurrent"),
    "minority_interest": ("MinorityInterest",),
    "preferred_stock": ("PreferredStockValue",),
    "cost_of_revenue": ("CostOfRevenue", "CostOfGoodsAndServicesSold", "CostOfGoodsSold"),
    "selling_general_administrative": ("SellingGeneralAndAdministrativeExpense",),
    "research_development": ("ResearchAndDevelopmentExpense",),
    "depreciation": ("DepreciationDepletionAndAmortization", "DepreciationAndAmortization"),
    "interest_expense": ("InterestExpense",),
    "operating_income": ("OperatingIncomeLoss",),
    "pretax_income": (
        "IncomeLossFromContinuingOperationsBeforeIncomeTaxesExtraordinaryItemsNoncontrollingInterest",
    ),
    "income_taxes": ("IncomeTaxExpenseBenefit",),
    "current_income_taxes": ("CurrentIncomeTaxExpenseBenefit",),
    "dividends": ("PaymentsOfDividendsCommonStock", "PaymentsOfDividends"),
    "share_repurchases": ("PaymentsForRepurchaseOfCommonStock",),
    "share_issuance": ("ProceedsFromIssuanceOfCommonStock",),
}
"""Item to tags of us-gaap (and dei), the first that a filing has."""

_RANK = {tag: (item, rank) for item, tags in TAGS.items() for rank, tag in enumerate(tags)}
_FACTS = {
    "asset_id": pl.Int64, "item": pl.String, "rank": pl.Int32, "start": pl.Date, "end": pl.Date,
    "filed": pl.Date,
    "value": pl.Float64,
}  # fmt: skip
SHARES_DATED_LATER_DAYS = 120
"""The cover of a filing gives shares outstanding on a day some weeks after the period."""


def read_statements(source: SecStatements) -> pl.DataFrame:
    """Every statement of the source, canonical, all years.

    ``shares`` are as filed, on the basis of their day.
    """
    match source.format:
        case "company_facts":
            return statements_from_facts(_company_facts(source), str(source.path))
        case "data_sets":
            return statements_from_facts(_data_sets(source), str(source.path))
        case "point_in_time":
            return _point_in_time(source.path)
        case "canonical":
            days = collect_table(scan_table(source.path).select("available_from"), source.path)
            years = as_days(days["available_from"], str(source.path)).dt.year().unique().sort()
            return pl.concat([rows_of_year(source.path, STATEMENTS, "available_from", y) for y in years])


def source_files(source: SecStatements) -> list[Path]:
    """The files read."""
    if source.path.is_dir():
        pattern = "*.json" if source.format == "company_facts" else "*.zip"
        found = sorted(source.path.glob(pattern))
        if not found:
            raise InputError(
                f"no {pattern} in the folder",
                where=str(source.path),
                expected=f"files {pattern} of the SEC",
                remedy="see docs/data.md for where they are",
            )
    else:
        found = [source.path]
    return [*found, *([source.tickers] if source.tickers else [])]


def statements_from_facts(facts: pl.DataFrame, where: str) -> pl.DataFrame:
    """Canonical statements from single figures (``asset_id, item, rank, start, end, filed, value``).

    ``start`` is null for a balance; ``rank`` orders the tags of an item within a filing.
    """
    facts = (
        facts.filter(pl.col("filed") > pl.col("end"), pl.col("value").is_finite())
        .sort("asset_id", "item", "end", "start", "filed", "rank")
        .unique(["asset_id", "item", "end", "start", "filed"], keep="first", maintain_order=True)
    )
    flows = facts.filter(pl.col("start").is_not_null()).with_columns(
        (((pl.col("end") - pl.col("start")).dt.total_days() + 1) / 30.4375)
        .round()
        .cast(pl.Int32)
        .alias("months")
    )
    flows = flows.filter(pl.col("months").is_in([3, 6, 9, 12]))
    quarters = _quarterly_flows(flows)
    years = flows.filter(pl.col("months") == 12).select("asset_id", "item", "end", "filed", "value")
    balances = _with_period_shares(facts.filter(pl.col("start").is_null()))
    parts = []
    for months, of_period in ((3, quarters), (12, years)):
        ends = of_period.select("asset_id", "end").unique()
        both = pl.concat([of_period, balances.join(ends, on=["asset_id", "end"], how="semi")])
        parts.append(_snapshots(both).with_columns(pl.lit(months, dtype=pl.Int32).alias("period_months")))
    rows = pl.concat(parts, how="diagonal").rename({"end": "period_end", "filed": "available_from"})
    lacking = [item for item in STATEMENT_ITEMS if item not in rows.columns]
    rows = rows.with_columns(pl.lit(None, dtype=pl.Float64).alias(item) for item in lacking)
    return check_table(rows, STATEMENTS, where)


def _quarterly_flows(flows: pl.DataFrame) -> pl.DataFrame:
    """Three months as filed, else the difference of two figures that begin on one day.

    The shorter figure is the first that was filed, which was public when the longer one was.
    """
    columns = ("asset_id", "item", "end", "filed", "value")
    direct = flows.filter(pl.col("months") == 3).select(columns)
    shorter = (
        flows.filter(pl.col("months") < 12)
        .sort("filed")
        .unique(["asset_id", "item", "start", "months"], keep="first", maintain_order=True)
        .select(
            "asset_id", "item", "start", (pl.col("months") + 3).alias("months"),
            pl.col("filed").alias("public"), pl.col("value").alias("before"),
        )
    )  # fmt: skip
    derived = (
        flows.filter(pl.col("months") > 3)
        .join(shorter, on=["asset_id", "item", "start", "months"])
        .filter(pl.col("public") <= pl.col("filed"))
        .with_columns(pl.col("value") - pl.col("before"))
        .select(columns)
    )
    return pl.concat([direct, derived]).unique(
        ["asset_id", "item", "end", "filed"], keep="first", maintain_order=True
    )


def _with_period_shares(balances: pl.DataFrame) -> pl.DataFrame:
    """Shares on the cover of a filing count for the balance sheet in it, which is some weeks older."""
    columns = ("asset_id", "item", "end", "filed", "value")
    cover = balances.filter(pl.col("item") == "shares", pl.col("rank") == 0)
    others = balances.filter((pl.col("item") != "shares") | (pl.col("rank") != 0))
    newest = (
        balances.filter(pl.col("item") == "assets")
        .group_by("asset_id", "filed")
        .agg(pl.col("end").max().alias("balance"))
    )
    dated = (
        cover.join(newest, on=["asset_id", "filed"])
        .filter((pl.col("end") - pl.col("balance")).dt.total_days().is_between(0, SHARES_DATED_LATER_DAYS))
        .with_columns(end=pl.col("balance"))
    )
    return pl.concat([dated.select(columns), others.select(columns)]).unique(
        ["asset_id", "item", "end", "filed"], keep="first", maintain_order=True
    )


def _snapshots(figures: pl.DataFrame) -> pl.DataFrame:
    """One row per period and filing that brought news about it: all that was known of it by then."""
    items = [item for item in (*BALANCE_ITEMS, *FLOW_ITEMS) if item in set(figures["item"].unique())]
    key = ["asset_id", "end"]
    if not items:
        return figures.select(*key, "filed").clear()
    wide = figures.pivot(
        on="item", on_columns=items, index=[*key, "filed"], values="value", aggregate_function="first"
    )
    known = wide.sort(*key, "filed").with_columns(pl.col(items).forward_fill().over(key))
    changed = pl.any_horizontal(pl.col(item).ne_missing(pl.col(item).shift(1).over(key)) for item in items)
    return known.filter(changed | (pl.col("filed") == pl.col("filed").first().over(key)))


def _company_facts(source: SecStatements) -> pl.DataFrame:
    """Figures of every file whose CIK has a ticker."""
    ids = _ids_by_cik(source)
    columns: dict[str, list[Any]] = {name: [] for name in _FACTS}
    for name, content in _json_files(source):
        try:
            company = json.loads(content)
            asset_id = ids.get(int(company["cik"]))
            if asset_id is not None:
                _collect(company["facts"], asset_id, columns)
        except (ValueError, KeyError, TypeError) as error:
            page = content[:200].lstrip().lower().startswith(b"<")
            raise InputError(
                "a web page, not company facts" if page else f"no company facts: {error!r}",
                where=f"{source.path}, {name}",
                expected="JSON with cik and facts, as data.sec.gov serves it",
                remedy="fetch the file again, with a User-Agent that names you: the SEC blocks others",
            ) from error
    table = pl.DataFrame(columns, schema=_FACTS | {"start": pl.String, "end": pl.String, "filed": pl.String})
    where = str(source.path)
    return table.with_columns(as_days(table[name], where) for name in ("start", "end", "filed"))


def _collect(facts: dict[str, Any], asset_id: int, columns: dict[str, list[Any]]) -> None:
    for taxonomy in ("us-gaap", "dei"):
        for tag, fact in facts.get(taxonomy, {}).items():
            if tag not in _RANK:
                continue
            item, rank = _RANK[tag]
            for entry in fact["units"].get("shares" if item == "shares" else "USD", []):
                if entry["form"] in FORMS:
                    row = (
                        asset_id,
                        item,
                        rank,
                        entry.get("start"),
                        entry["end"],
                        entry["filed"],
                        float(entry["val"]),
                    )
                    for name, value in zip(columns, row, strict=True):
                        columns[name].append(value)


def _json_files(source: SecStatements) -> Iterator[tuple[str, bytes]]:
    path = source.path
    if path.is_dir():
        for file in source_files(source.model_copy(update={"tickers": None})):
            yield file.name, file.read_bytes()
        return
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json"):
                    yield name, archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise damaged(path, error) from error


def _ids_by_cik(source: SecStatements) -> dict[int, int]:
    if source.tickers is None:
        raise InputError(
            "no tickers for the SEC's company numbers",
            where="the study file, key source.statements.tickers",
            expected="the SEC's company_tickers.json",
            remedy="fetch https://www.sec.gov/files/company_tickers.json and name it",
        )
    try:
        listed = json.loads(source.tickers.read_bytes())
        entries = listed.values() if isinstance(listed, dict) else listed
        ids: dict[int, int] = {}
        for entry in entries:
            ids.setdefault(int(entry["cik_str"]), asset_id_of(entry["ticker"]))  # the first is the main class
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"no list of tickers: {error!r}",
            where=str(source.tickers),
            expected='JSON such as {"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}}',
            remedy="fetch the file again, with a User-Agent that names you",
        ) from error
    return ids


def _data_sets(source: SecStatements) -> pl.DataFrame:
    """Figures of the quarterly data sets; each zip holds ``sub.txt`` (filings) and ``num.txt`` (figures)."""
    ids = _ids_by_cik(source)
    firms = pl.DataFrame(
        {"cik": list(ids), "asset_id": list(ids.values())}, schema={"cik": pl.Int64, "asset_id": pl.Int64}
    )
    ranks = pl.DataFrame(
        [(tag, item, rank) for tag, (item, rank) in _RANK.items()],
        schema={"tag": pl.String, "item": pl.String, "rank": pl.Int32}, orient="row",
    )  # fmt: skip
    parts = []
    for path in [file for file in source_files(source) if file.suffix == ".zip"]:
        try:
            with zipfile.ZipFile(path) as archive:
                filings = pl.concat(
                    _tab_separated(archive, "sub.txt", ("adsh", "cik", "form", "filed"), path)
                )
                filings = filings.filter(pl.col("form").is_in(FORMS)).with_columns(
                    pl.col("cik").cast(pl.Int64)
                )
                filings = filings.join(firms, on="cik").select("adsh", "asset_id", "filed")
                columns = ("adsh", "tag", "ddate", "qtrs", "uom", "value", "coreg", "segments")
                for batch in _tab_separated(archive, "num.txt", columns, path):
                    parts.append(_figures(batch, filings, ranks, path))  # noqa: PERF401
        except (zipfile.BadZipFile, EOFError, KeyError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
            raise damaged(path, error) from error
    return pl.concat(parts) if parts else pl.DataFrame(schema=_FACTS)


def _tab_separated(
    archive: zipfile.ZipFile, member: str, columns: tuple[str, ...], path: Path
) -> list[pl.DataFrame]:
    """Text columns of a member; one that this vintage of the files lacks is null."""
    with archive.open(member) as first:
        header = first.readline().decode("utf-8", "replace").strip().split("\t")
    present = [name for name in columns if name in header]
    if lacking := [name for name in columns if name not in header and name not in ("coreg", "segments")]:
        raise InputError(
            f"missing column{'s' if len(lacking) > 1 else ''}: {', '.join(lacking)}",
            where=f"{path}, {member} (its columns: {', '.join(header[:20])})",
            expected=", ".join(columns),
            remedy="take the SEC's financial statement data sets, not the financial statement and notes ones",
        )
    with archive.open(member) as stream:
        reader = pyarrow.csv.open_csv(
            _whole(stream),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=present,
                column_types=dict.fromkeys(present, pa.string()),
                strings_can_be_null=True,
            ),
        )
        batches = []
        for batch in reader:
            frame = pl.DataFrame(pl.from_arrow(batch))
            if "tag" in frame.columns:
                frame = frame.filter(
                    pl.col("tag").is_in(list(_RANK))
                )  # one figure in twenty: the rest is not kept
            batches.append(frame)
    missing = [name for name in columns if name not in present]
    return [
        batch.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in missing) for batch in batches
    ]


def _whole(stream: IO[bytes]) -> pa.PythonFile:
    return pa.PythonFile(stream, mode="r")


def _figures(batch: pl.DataFrame, filings: pl.DataFrame, ranks: pl.DataFrame, path: Path) -> pl.DataFrame:
    none = pl.col("coreg").is_null() | (pl.col("coreg") == "")
    whole = pl.col("segments").is_null() | (pl.col("segments") == "")
    unit = pl.when(pl.col("item") == "shares").then(pl.lit("shares")).otherwise(pl.lit("USD"))
    rows = (
        batch.join(ranks, on="tag")
        .filter(none, whole, pl.col("uom") == unit, pl.col("qtrs").is_in(["0", "1", "2", "3", "4"]))
        .join(filings, on="adsh")
    )
    end = as_days(rows["ddate"], str(path))
    quarters = rows["qtrs"].cast(pl.Int32)
    rows = rows.with_columns(
        end.alias("end"), as_days(rows["filed"], str(path)), (3 * quarters).alias("months"),
        pl.col("value").cast(pl.Float64),
    )  # fmt: skip
    start = pl.col("end").dt.month_end().dt.offset_by(pl.format("-{}mo", pl.col("months"))).dt.month_end()
    return rows.with_columns(
        pl.when(pl.col("months") > 0).then(start.dt.offset_by("1d")).alias("start")
    ).select(list(_FACTS))


def _point_in_time(path: Path) -> pl.DataFrame:
    named = {
        "net_income": "earnings", "total_assets": "assets", "equity": "book_equity",
        "operating_cf": "operating_cash_flow", "capex": "capital_expenditures",
    }  # fmt: skip
    columns = ("ticker", "period_end", "available_date", *named)
    table = collect_table(require_columns(scan_table(path), columns, path), path)
    where = str(path)
    rows = table.select(
        asset_ids(table["ticker"], path),
        as_days(table["period_end"], where),
        as_days(table["available_date"], where).alias("available_from"),
        pl.lit(3, dtype=pl.Int32).alias("period_months"),
        *(pl.col(theirs).cast(pl.Float64).alias(ours) for theirs, ours in named.items()),
    )
    refuse_duplicates(rows, ["asset_id", "period_end", "available_from"], where)
    lacking = [item for item in STATEMENT_ITEMS if item not in rows.columns]
    rows = rows.with_columns(pl.lit(None, dtype=pl.Float64).alias(item) for item in lacking)
    return check_table(rows, STATEMENTS, where)
