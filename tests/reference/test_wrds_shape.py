"""The simulated market in WRDS's shape, read back row by row as a careful user of CRSP and Compustat would.

Nothing here uses an adapter of ours: plain loops over rows, by the rules of the vendors' manuals, must give
the canonical tables bit for bit.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
from collections import defaultdict

import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.sources.simulated.wrds import ITEMS, wrds_rows, wrds_tables
from seqpricing_core.study import SimulatedSource

SOURCE = SimulatedSource(kind="simulated", seed=3, stocks=40, detail="complete", daily=True, filing="lagged")
FIRST, LAST = 2000, 2002


def month_end(day, later=0):
    month = day.month - 1 + later
    year, month = day.year + month // 12, month % 12 + 1
    return dt.date(year, month, calendar.monthrange(year, month)[1])


@pytest.fixture(scope="module")
def wrds():
    return wrds_tables(SOURCE, FIRST, LAST)


@pytest.fixture(scope="module")
def canonical(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canonical")
    write_simulated_market(SOURCE, FIRST, LAST, folder)
    names = ("stock_months", "statements", "stock_days", "factors", "factor_days")
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in names}


def rows_by(table, *key):
    return {tuple(row[k] for k in key): row for row in table.iter_rows(named=True)}


class TestPrices:
    def test_legacy_months(self, wrds, canonical):
        names = defaultdict(list)
        for row in wrds["crsp.msenames"].iter_rows(named=True):
            names[row["permno"]].append(row)
        delisted = {row["permno"]: row for row in wrds["crsp.msedelist"].iter_rows(named=True)}
        ours = rows_by(canonical["stock_months"], "asset_id", "month")
        seen = {"negative": 0, "split": 0, "unknown": 0, "known": 0}
        for row in wrds["crsp.msf"].iter_rows(named=True):
            month = month_end(row["date"])
            mine = ours.pop((row["permno"], month))
            [name] = [n for n in names[row["permno"]] if n["namedt"] <= row["date"] <= n["nameendt"]]
            price = abs(row["prc"])
            assert mine["unadjusted_price"] == price
            assert mine["price"] == price / row["cfacpr"]
            assert mine["shares"] == row["shrout"] * 1000 * row["cfacshr"]
            assert mine["market_equity"] == price * row["shrout"] * 1000
            assert mine["high"] == row["askhi"] / row["cfacpr"]
            assert mine["exchange"] == {1: "NYSE", 2: "AMEX", 3: "NASDAQ"}.get(name["exchcd"], "OTHER")
            assert mine["common_share"] == (name["shrcd"] in (10, 11))
            assert (mine["sic"], mine["company_id"]) == (name["siccd"], row["permco"])
            ret, end = row["ret"], delisted.get(row["permno"])
            if end and month_end(end["dlstdt"]) == month:
                assert mine["delisting_code"] == end["dlstcd"]
                code, loss = end["dlstcd"], end["dlret"]
                if loss is None and (code == 500 or 520 <= code <= 584):
                    loss = -0.55 if name["exchcd"] == 3 else -0.3
                    seen["unknown"] += 1
                if loss is not None:
                    ret = (1 + ret) * (1 + loss) - 1
                    seen["known"] += 1
            else:
                assert mine["delisting_code"] is None
            assert mine["ret"] == ret
            seen["negative"] += row["prc"] < 0
            seen["split"] += row["cfacpr"] != 1
        assert not ours
        assert min(seen.values()) > 0

    def test_ciz_months(self, wrds, canonical):
        delisted = {row["permno"]: row for row in wrds["crsp.stkdelists"].iter_rows(named=True)}
        ours = rows_by(canonical["stock_months"], "asset_id", "month")
        for row in wrds["crsp.msf_v2"].iter_rows(named=True):
            mine = ours.pop((row["permno"], month_end(row["mthcaldt"])))
            assert mine["price"] == row["mthprc"] / row["mthcumfacpr"]
            assert mine["market_equity"] == row["mthcap"] * 1000
            assert mine["shares"] == row["shrout"] * 1000 * row["mthcumfacshr"]
            assert mine["dollar_volume"] == row["mthprcvol"]
            exchange = {"N": "NYSE", "A": "AMEX", "Q": "NASDAQ"}.get(row["primaryexch"], "OTHER")
            assert (mine["exchange"], mine["sic"]) == (exchange, row["siccd"])
            ordinary = (row["sharetype"], row["securitytype"], row["securitysubtype"], row["usincflg"]) == (
                "NS", "EQTY", "COM", "Y"
            )  # fmt: skip
            assert mine["common_share"] == (ordinary and row["issuertype"] in ("ACOR", "CORP"))
            assert (row["mthdelflg"] == "Y") == (mine["delisting_code"] is not None)
            if row["mthdelflg"] == "Y" and delisted[row["permno"]]["delret"] is None:
                continue  # whether a drop has a code that CRSP calls performance-related, CIZ does not say
            assert mine["ret"] == row["mthret"]
        assert not ours

    @pytest.mark.parametrize(("table", "day", "names"), [
        ("crsp.dsf", "date", ("prc", "askhi", "bidlo", "bid", "ask", "vol", "cfacpr", "cfacshr", "ret")),
        ("crsp.dsf_v2", "dlycaldt", ("dlyprc", "dlyhigh", "dlylow", "dlybid", "dlyask", "dlyvol",
                                     "dlycumfacpr", "dlycumfacshr", "dlyret")),
    ])  # fmt: skip
    def test_days(self, wrds, canonical, table, day, names):
        prc, high, low, bid, ask, vol, per_price, per_share, ret = names
        ours = rows_by(canonical["stock_days"].filter(pl.col("day").dt.year() == 2001), "asset_id", "day")
        for row in wrds[table].filter(pl.col(day).dt.year() == 2001).iter_rows(named=True):
            mine = ours.pop((row["permno"], row[day]))
            for name, theirs in (("price", prc), ("high", high), ("low", low), ("bid", bid), ("ask", ask)):
                assert mine[name] == abs(row[theirs]) / row[per_price]
            assert mine["volume"] == row[vol] * row[per_share]
            assert mine["dollar_volume"] == abs(row[prc]) * row[vol]
            assert mine["shares"] == row["shrout"] * 1000 * row[per_share]
            assert mine["ret"] == row[ret]
            assert (row[prc] < 0) == (table == "crsp.dsf" and row[vol] == 0)
        assert not ours

    def test_factors(self, wrds, canonical):
        theirs = [(month_end(d), rf, m) for d, m, rf in wrds["ff.factors_monthly"].iter_rows()]
        assert theirs == canonical["factors"].rows()
        theirs = wrds["ff.factors_daily"].select("date", "rf", "mktrf", "smb", "hml")
        assert theirs.rows() == canonical["factor_days"].rows()


class TestStatements:
    def standard(self, table):
        return [
            row for row in table.iter_rows(named=True)
            if (row["indfmt"], row["datafmt"], row["consol"], row["popsrc"]) == ("INDL", "STD", "C", "D")
        ]  # fmt: skip

    def linked(self, wrds, gvkey, day):
        return {
            row["lpermno"]
            for row in wrds["crsp.ccmxpf_lnkhist"].filter(pl.col("gvkey") == gvkey).iter_rows(named=True)
            if row["linktype"] in ("LU", "LC") and row["linkprim"] in ("P", "C")
            and row["linkdt"] <= day and (row["linkenddt"] is None or day <= row["linkenddt"])
        }  # fmt: skip

    def test_years(self, wrds, canonical):
        annual = canonical["statements"].filter(pl.col("period_months") == 12)
        ours, strangers = rows_by(annual, "asset_id", "period_end"), 0
        for row in self.standard(wrds["comp.funda"]):
            assets = self.linked(wrds, row["gvkey"], row["datadate"])
            if not assets:
                strangers += 1
                continue
            [asset] = assets
            mine = ours.pop((asset, row["datadate"]))
            assert mine["available_from"] == month_end(row["datadate"], later=6)
            for item, theirs in ITEMS.items():
                assert mine[item] == (None if row[theirs] is None else row[theirs] * 1e6), item
            assert mine["shares"] == (None if row["csho"] is None else row["csho"] * row["ajex"] * 1e6)
            assert mine["employees"] == (None if row["emp"] is None else row["emp"] * 1000)
            current = None if row["txfed"] is None else (row["txfed"] + row["txfo"]) * 1e6
            assert mine["current_income_taxes"] == current
            assert row["fyear"] == row["datadate"].year - (row["fyr"] <= 5)
        assert not ours
        assert strangers > 3

    def test_quarters(self, wrds, canonical):
        quarterly = canonical["statements"].filter(pl.col("period_months") == 3)
        ours = rows_by(quarterly, "asset_id", "period_end")
        rows = {(r["gvkey"], r["fyearq"], r["fqtr"]): r for r in self.standard(wrds["comp.fundq"])}
        to_date = ("operating_cash_flow", "capital_expenditures", "share_repurchases", "share_issuance")
        differenced = 0
        for (gvkey, year, quarter), row in rows.items():
            assets = self.linked(wrds, gvkey, row["datadate"])
            if not assets:
                continue
            mine = ours.pop((assets.pop(), row["datadate"]))
            assert mine["available_from"] == month_end(row["datadate"], later=4)
            before = rows.get((gvkey, year, quarter - 1))
            for item, name in ITEMS.items():
                if item in to_date:
                    now = row[f"{name}y"]
                    then = 0.0 if quarter == 1 else before and before[f"{name}y"]
                    theirs = None if now is None or then is None else (now - then) * 1e6
                    differenced += theirs is not None and quarter > 1
                else:
                    theirs = row.get(f"{name}q")
                    theirs = None if theirs is None else theirs * 1e6
                assert mine[item] == theirs, (item, row["datadate"])
            assert mine["shares"] == (None if row["cshoq"] is None else row["cshoq"] * row["ajexq"] * 1e6)
        assert not ours
        assert differenced > 1000


class TestExport:
    def test_pieces_are_the_tables(self, wrds):
        parts = defaultdict(list)
        for name, rows in wrds_rows(SOURCE, FIRST, LAST):
            parts[name].append(rows)
        assert {
            name: pl.concat(of_table).equals(wrds[name]) for name, of_table in parts.items()
        } == dict.fromkeys(wrds, True)
        assert len(parts["crsp.msf"]) == LAST - FIRST + 1
        assert len(parts["crsp.dsf"]) == 12 * (LAST - FIRST + 1)

    def test_restatements_are_in_another_format(self):
        reported = SOURCE.model_copy(update={"filing": "reported", "daily": False})
        quarters = wrds_tables(reported, 2000, 2001)["comp.fundq"].filter(pl.col("indfmt") == "INDL")
        restated = quarters.filter(pl.col("datafmt") == "SUMM_STD")
        assert 0 < len(restated) < 0.05 * len(quarters)
        assert (restated["fdateq"] > restated["rdq"]).all()
        late = (quarters["rdq"] - quarters["datadate"]).dt.total_days()
        assert (late.min(), late.max()) == (20, 75)

    def test_amounts_are_exact_in_either_unit(self, canonical):
        """A sixth power of ten and back: no last bit is lost."""
        for item in ("assets", "revenue", "shares"):
            for amount in canonical["statements"][item].drop_nulls():
                assert amount / 1e6 * 1e6 == amount
                assert math.frexp(amount / 1e6)[0] * 2**53 % 1 == 0

    def test_a_plain_market_has_no_such_tables(self):
        with pytest.raises(InputError, match="detail: complete"):
            wrds_tables(SimulatedSource(kind="simulated"), 2000, 2000)
