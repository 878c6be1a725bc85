"""The first law: what prices month t knows nothing of month t and later.

The whole pipeline runs from raw tables twice: once as they are, once after *every* datum of month t and
later was changed (returns, prices, volumes, market equity, factors; statements that became public later;
rows gone, rows added, restatements of old quarters). Expected returns of months up to t must be the same
bit for bit. That this would notice a leak is shown by planting some.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from seqpricing_core import pipeline, predictions
from seqpricing_core.characteristics import compute, of_study
from seqpricing_core.models.factor_model import fitted_returns
from seqpricing_core.panel import build
from seqpricing_core.panel.panel import Sample
from seqpricing_core.pipeline import StudyResults, run_study
from seqpricing_core.portfolios import assign_quantiles
from seqpricing_core.windows import Window

MODELS = {
    "ipca": {},
    "ca2": {"grid": {"l1": [0.001], "learning_rate": [0.01, 0.02], "beta_hidden": [[8, 4]]}},
    "seqlat": {
        "lookback": 6,
        "grid": {"l1": [0.001], "learning_rate": [0.02], "beta_hidden": [[8]]},
    },
}


def month(text: str) -> dt.date:
    """'2004-06' -> its last day."""
    year, number = map(int, text.split("-"))
    return dt.date(year + number // 12, number % 12 + 1, 1) - dt.timedelta(days=1)


def rewrite_from(
    tables: dict[str, pl.DataFrame], t: dt.date, *, some_leave_in_t: bool, seed: int = 0
) -> dict[str, pl.DataFrame]:
    """Tables with another month t and another future; nothing before the first day of t is touched.

    Parameters
    ----------
    some_leave_in_t
        Whether a tenth of the stocks has no return in t itself: half of them no row, half a null. Later on
        some always leave.
    """
    random = np.random.default_rng(seed)
    first_day = t.replace(day=1)

    def scaled(column, count, spread=1.0):
        return pl.col(column) * pl.Series(np.exp(spread * random.normal(size=count)))

    months = tables["stock_months"]
    past, future = months.filter(pl.col("month") < t), months.filter(pl.col("month") >= t)
    # Old stocks that had left come back, the one that left in t-1 too; stocks nobody has heard of appear.
    last_seen = past.sort("month").unique("asset_id", keep="last", maintain_order=True)
    returned = last_seen.join(future, on="asset_id", how="anti")
    strangers = future.filter(pl.col("asset_id") % 5 == 0).with_columns(pl.col("asset_id") + 500_000)
    calendar = future.select("month").unique().sort("month")
    future = pl.concat([
        future, strangers, returned.drop("month").join(calendar, how="cross").select(future.columns),
    ])  # fmt: skip
    future = future.sort("month", "asset_id")  # joins promise no order, and the noise goes by row
    gone = (pl.Series(random.random(len(future)) < 0.1)) & (pl.col("month") > t)
    future = future.filter(~gone)
    if some_leave_in_t:
        in_t = pl.col("month") == t
        future = future.filter(~(in_t & (pl.col("asset_id") % 20 == 7))).with_columns(
            pl.when(~(in_t & (pl.col("asset_id") % 20 == 13))).then(pl.col("ret")).alias("ret")
        )
    count = len(future)
    future = future.with_columns(
        pl.when(pl.col("ret").is_not_null()).then(pl.Series(random.uniform(-0.6, 0.9, count))).alias("ret"),
        *(
            scaled(column, count)
            for column in (
                "market_equity", "price", "high", "dollar_volume", "sum_squared_daily_returns",
            )
        ),
        maximum_daily_return=pl.Series(random.uniform(-0.1, 0.5, count)),
        trading_days=pl.Series(random.integers(15, 24, count), dtype=pl.Int32),
        zero_volume_days=pl.Series(random.integers(0, 10, count), dtype=pl.Int32),
    )  # fmt: skip

    filed = tables["statements"]
    known, later = (filed.filter(pl.col("available_from") < first_day),
                    filed.filter(pl.col("available_from") >= first_day))  # fmt: skip
    later = later.filter(pl.Series(random.random(len(later)) < 0.8))
    again = known.filter(pl.col("available_from") > first_day - dt.timedelta(days=900))
    days = pl.duration(days=pl.Series(random.integers(0, 200, len(again))))
    restated = again.with_columns((pl.lit(first_day) + days).alias("available_from"))
    key = ["asset_id", "period_end", "available_from"]
    later = pl.concat([later, restated]).unique(key, keep="first", maintain_order=True)
    items = [name for name in later.columns if name not in key]
    later = later.with_columns(scaled(item, len(later)) for item in items)

    factors = tables["factors"]
    count = len(factors)
    is_future = pl.col("month") >= t
    factors = factors.with_columns(
        pl.when(is_future).then(pl.Series(random.uniform(0, 0.02, count))).otherwise(pl.col("risk_free"))
        .alias("risk_free"),
        pl.when(is_future).then(pl.Series(random.normal(0, 0.1, count))).otherwise(pl.col("market_excess"))
        .alias("market_excess"),
    )  # fmt: skip
    return {
        "stock_months": pl.concat([past, future]).sample(fraction=1, shuffle=True, seed=seed),
        "statements": pl.concat([known, later]).sample(fraction=1, shuffle=True, seed=seed),
        "factors": factors,
    }


@dataclass(frozen=True)
class Difference:
    """Something about a month up to t that depends on month t or later."""

    quantity: str
    family: str
    number_of_factors: int
    month: dt.date
    rows: int
    largest: float


def bits(column: pl.Series) -> np.ndarray:
    return column.to_numpy().view(np.int64)


def differences_up_to(t: dt.date, before: StudyResults, after: StudyResults) -> list[Difference]:
    """Where two runs disagree on what was settled before month t, bit by bit."""
    found = []
    model, key = ["family", "number_of_factors"], ["month", "asset_id"]
    for (family, factors), one in before.predictions.group_by(model, maintain_order=True):
        other = after.predictions.filter(pl.col("family") == family, pl.col("number_of_factors") == factors)

        def report(quantity, rows, largest=np.nan, *, family=family, factors=factors):
            if len(rows):
                found.append(
                    Difference(quantity, family, factors, rows["month"].min(), len(rows), float(largest))
                )

        for left, right, name in ((one, other, "row lost"), (other, one, "row gained")):
            # Who is forecast for t is settled at the end of t-1.
            report(name, left.filter(pl.col("month") <= t).join(right, on=key, how="anti"))
        both = one.join(other, on=key, suffix="_after", maintain_order="left")
        for quantity, until in (
            ("expected_return", pl.col("month") <= t),  # made at the end of t-1
            ("market_equity", pl.col("month") <= t),
            ("fitted_return", pl.col("month") < t),  # uses the month's own factors
            ("excess_return", pl.col("month") < t),
        ):
            rows = both.filter(until)
            changed = bits(rows[quantity]) != bits(rows[f"{quantity}_after"])
            size = (rows[quantity] - rows[f"{quantity}_after"]).abs().filter(pl.Series(changed)).max()
            report(quantity, rows.filter(pl.Series(changed)), np.nan if size is None else size)
    strategy = [*model, "weights", "portfolio", "month"]
    earned = [r.portfolio_returns.filter(pl.col("month") < t).sort(strategy) for r in (before, after)]
    for (family, factors), one in earned[0].group_by(model, maintain_order=True):
        other = earned[1].filter(pl.col("family") == family, pl.col("number_of_factors") == factors)
        changed = one.join(other, on=one.columns, how="anti")
        if len(changed):
            found.append(
                Difference("portfolio", family, factors, changed["month"].min(), len(changed), np.nan)
            )
    return found


def same_portfolios_are_formed(t: dt.date, before: StudyResults, after: StudyResults) -> bool:
    """Whether the sort made at the end of t-1 puts every stock into the same portfolio."""
    formed = [
        assign_quantiles(results.predictions.filter(pl.col("month") == t), 5)
        .select("family", "number_of_factors", "asset_id", "quantile")
        .sort("family", "number_of_factors", "asset_id")
        for results in (before, after)
    ]
    return len(formed[0]) > 0 and formed[0].equals(formed[1])


@pytest.fixture(scope="module")
def run(make_study, write_tables, tmp_path_factory):
    """A whole run from raw files that hold these tables."""

    def run_from(tables, **sections) -> StudyResults:
        folder = tmp_path_factory.mktemp("raw")
        sections = {"models": MODELS, "source": write_tables(folder, tables)} | sections
        return run_study(make_study(**sections), folder)

    return run_from


@pytest.fixture(scope="module")
def expected_returns_change(run):
    """The check: differences in what was settled before t, once all that came later is another.

    Used by the honest pipeline, which must have none, and by every planted leak, which must have some.
    """

    def check(tables, t, *, before=None, some_leave_in_t=False, **sections):
        before = before or run(tables, **sections)
        after = run(rewrite_from(tables, t, some_leave_in_t=some_leave_in_t), **sections)
        return differences_up_to(t, before, after), before, after

    return check


@pytest.fixture(scope="module")
def tables(small):
    return {name: small.tables[name] for name in ("stock_months", "statements", "factors")}


@pytest.fixture(scope="module")
def honest(run, tables):
    return run(tables)


class TestTheRewriting:
    """What is changed is everything from t on, and nothing before."""

    T = month("2004-06")

    @pytest.fixture(scope="class")
    def rewritten(self, tables):
        return rewrite_from(tables, self.T, some_leave_in_t=True)

    def test_the_past_is_the_same(self, tables, rewritten):
        for name, date, key in (
            ("stock_months", "month", ["month", "asset_id"]),
            ("statements", "available_from", ["available_from", "asset_id", "period_end"]),
            ("factors", "month", ["month"]),
        ):
            past = pl.col(date) < dt.date(2004, 6, 1)
            one, other = (t[name].filter(past).sort(key) for t in (tables, rewritten))
            assert len(one) > 0
            assert one.equals(other), name

    def test_every_number_of_the_future_is_another(self, tables, rewritten):
        for name, date, key in (
            ("stock_months", "month", ["month", "asset_id"]),
            ("statements", "available_from", ["available_from", "asset_id", "period_end"]),
            ("factors", "month", ["month"]),
        ):
            future = pl.col(date) >= dt.date(2004, 6, 1)
            both = tables[name].filter(future).join(rewritten[name], on=key, suffix="_new")
            assert len(both) > 0
            for column in tables[name].columns:
                if column not in key:
                    same = (both[column] == both[f"{column}_new"]).sum()
                    few = 0.35 if "days" in column else 0.0  # small counts coincide by chance
                    assert same <= few * len(both), (name, column)

    def test_rows_go_and_come(self, tables, rewritten):
        old, new = (t["stock_months"].filter(pl.col("month") > self.T) for t in (tables, rewritten))
        assert len(old.join(new, on=["asset_id", "month"], how="anti")) > 50
        assert len(new.join(old, on=["asset_id", "month"], how="anti")) > 50
        old, new = (
            t["stock_months"].filter(pl.col("month") == self.T, pl.col("ret").is_not_null())
            for t in (tables, rewritten)
        )
        assert len(old.join(new, on="asset_id", how="anti")) > 3
        restated = rewritten["statements"].filter(
            pl.col("available_from") >= dt.date(2004, 6, 1), pl.col("period_end") < dt.date(2003, 12, 31)
        )
        assert len(restated) > 100


class TestTheWholePipeline:
    @pytest.mark.parametrize("t", ["2004-01", "2004-06", "2005-01", "2005-09"])
    def test_changing_the_future_changes_no_forecast(self, expected_returns_change, tables, honest, t):
        """First and later months of the first and of the second test year, all families, all K."""
        t = month(t)
        found, before, after = expected_returns_change(tables, t, before=honest)
        assert found == []
        in_t = pl.col("month") == t
        assert same_portfolios_are_formed(t, before, after)
        # And it was no empty check: month t turned out otherwise, and the forecasts after it are others.
        rows = before.predictions.join(
            after.predictions, on=["family", "number_of_factors", "month", "asset_id"], suffix="_after"
        )
        assert rows["family"].n_unique() == 3
        assert (rows.filter(in_t)["excess_return"] != rows.filter(in_t)["excess_return_after"]).all()
        assert (rows.filter(in_t)["fitted_return"] != rows.filter(in_t)["fitted_return_after"]).mean() > 0.99
        later = (
            rows.filter(pl.col("month") > t)
            .group_by("family", "number_of_factors")
            .agg((pl.col("expected_return") != pl.col("expected_return_after")).mean())
        )
        assert len(later) == 6
        assert later["expected_return"].min() > 0.99

    @pytest.mark.parametrize("t", ["2004-06", "2005-09"])
    def test_who_leaves_in_the_month_changes_no_forecast_of_the_others(self, leavers, t):
        """Some have no return in t, itself a datum of t: every forecast is made all the same, bit for bit."""
        found, before, after = leavers[t]
        assert found == []
        assert same_portfolios_are_formed(month(t), before, after)

    @pytest.fixture(scope="class")
    def leavers(self, expected_returns_change, tables, honest):
        return {
            t: expected_returns_change(tables, month(t), before=honest, some_leave_in_t=True)
            for t in ("2004-06", "2005-09")
        }

    def test_some_did_leave(self, leavers):
        for t, (_, before, after) in leavers.items():
            sizes = [
                r.predictions.filter(pl.col("month") == month(t), pl.col("family") == "ipca")[
                    "excess_return"
                ].count()
                for r in (before, after)
            ]
            assert sizes[1] < sizes[0]


class TestSequencePredictors:
    """The same law for models that read past months of the characteristics, fine-tuned year after year."""

    SMALL: ClassVar = {"lookback": 6, "batch": 200}
    SECTIONS: ClassVar = {
        "models": {
            "dnn": {"hidden": [8, 4], **SMALL},
            "rnn": {"hidden": 4, **SMALL}, "lstm": {"hidden": 4, **SMALL}, "gru": {"hidden": 4, **SMALL},
            "bi_lstm": {"hidden": 4, **SMALL}, "lstm_att": {"hidden": 4, **SMALL},
            "transformer": {"hidden": 8, "heads": 2, **SMALL},
        },
        "training": {"max_epochs": 2, "patience": 2},
    }  # fmt: skip

    @pytest.fixture(scope="class")
    def sequences(self, run, tables):
        return run(tables, **self.SECTIONS)

    @pytest.mark.parametrize("t", ["2004-06", "2005-01"])
    def test_changing_the_future_changes_no_forecast(self, expected_returns_change, tables, sequences, t):
        t = month(t)
        found, before, after = expected_returns_change(tables, t, before=sequences, **self.SECTIONS)
        assert found == []
        assert same_portfolios_are_formed(t, before, after)
        key = ["family", "number_of_factors", "month", "asset_id"]
        rows = before.predictions.join(after.predictions, on=key, suffix="_after")
        later = (
            rows.filter(pl.col("month") > t)
            .group_by("family")
            .agg((pl.col("expected_return") != pl.col("expected_return_after")).mean())
        )
        assert set(later["family"]) == set(self.SECTIONS["models"])
        assert later["expected_return"].min() > 0.99

    def test_a_window_that_ends_in_the_month_is_caught(
        self, expected_returns_change, tables, sequences, monkeypatch
    ):
        """A planted leak: sequences that hold z_t, known only once t is over, in the place of z_t-1."""
        honest_known = Sample.known

        def late(self, t):
            known = honest_known(self, t)
            return honest_known(self, t + 1) if t + 1 < len(self) else known

        def forecast(model, test):
            months = [late(test, t) for t in range(len(test))]
            wanted = [test.known(t).asset_id for t in range(len(test))]
            return [
                dict(zip(m.asset_id, model.expected_returns(m), strict=True)) | {"ids": ids}
                for m, ids in zip(months, wanted, strict=True)
            ]

        def aligned(model, test):
            return [
                np.array([month.get(asset, 0.0) for asset in month["ids"]]) for month in forecast(model, test)
            ]

        monkeypatch.setattr(predictions, "forecast_months", aligned)
        only = self.SECTIONS | {"models": {"lstm": self.SECTIONS["models"]["lstm"]}}
        found, _, _ = expected_returns_change(tables, month("2004-06"), **only)
        assert any(d.quantity == "expected_return" for d in found)


class TestPublicFiles:
    """The same law for the source that derives returns, market equity and publication itself."""

    SECTIONS: ClassVar = {
        "models": {"ipca": {}, "ca2": MODELS["ca2"]}, "number_of_factors": [2],
        "portfolios": {"quantiles": 3},
        "sample": {"first_month": "1998-01", "last_month": "2001-12"},
        "windows": {"train_years": 2, "validation_years": 1},
    }  # fmt: skip

    @pytest.fixture(scope="class")
    def run_public(self, make_study, tmp_path_factory):
        def run_from(tables) -> StudyResults:
            folder = tmp_path_factory.mktemp("public")
            for name, table in tables.items():
                table.write_parquet(folder / f"{name}.parquet")
            paths = {name: str(folder / f"{name}.parquet") for name in tables}
            source = {"kind": "public_files", "reporting_lag_months": 4, **paths}
            return run_study(make_study(source=source, **self.SECTIONS), folder)

        return run_from

    @pytest.fixture(scope="class")
    def public(self, public_tables):
        """Two tickers leave the index in 2001, one joins."""
        tickers = public_tables["prices"]["ticker"].unique().sort()
        ends = {"t03": dt.date(2001, 6, 15), "t04": dt.date(2001, 8, 31)}
        starts = {"t05": dt.date(2001, 7, 31)}
        members = pl.DataFrame({
            "ticker": tickers,
            "start_date": [starts.get(ticker, dt.date(1990, 1, 1)) for ticker in tickers],
            "end_date": [ends.get(ticker) for ticker in tickers],
        })  # fmt: skip
        return public_tables | {"index_members": members}

    @staticmethod
    def rewrite(tables, t):
        """Prices, factors and membership from t on; statements whose quarter is public in t or later."""
        random = np.random.default_rng(0)
        first_day = t.replace(day=1)
        later = {
            "prices": pl.col("Date") >= t,
            "statements": pl.col("Quarter end").dt.offset_by("4mo") >= first_day,
            "factors": pl.col("date") >= t,
        }
        changed = {}
        for name, future in later.items():
            table = tables[name]
            numbers = [column for column, dtype in table.schema.items() if dtype.is_numeric()]
            noise = {c: pl.Series(np.exp(0.3 * random.normal(size=len(table)))) for c in numbers}
            changed[name] = table.with_columns(
                pl.when(future)
                .then((pl.col(c) * noise[c]).cast(table.schema[c]))
                .otherwise(pl.col(c))
                .alias(c)
                for c in numbers
            )
        days = pl.Series(random.integers(0, 100, len(tables["index_members"])))
        moved = pl.lit(first_day) + pl.duration(days=days)
        changed["index_members"] = tables["index_members"].with_columns(
            pl.when((pl.col("end_date") >= first_day) | pl.Series(random.random(len(days)) < 0.3)).then(moved)
            .otherwise(pl.col("end_date")).alias("end_date"),
            pl.when(pl.col("start_date") >= first_day).then(moved).otherwise(pl.col("start_date"))
            .alias("start_date"),
        )  # fmt: skip
        return changed

    def test_changing_the_future_changes_no_forecast(self, run_public, public):
        t = month("2001-05")
        before, after = run_public(public), run_public(self.rewrite(public, t))
        assert differences_up_to(t, before, after) == []
        rows = before.predictions.join(
            after.predictions, on=["family", "number_of_factors", "month", "asset_id"], suffix="_after"
        )
        assert (rows.filter(pl.col("month") == t)["excess_return"].ne(
            rows.filter(pl.col("month") == t)["excess_return_after"])).all()  # fmt: skip
        last = pl.col("month") == month("2001-12")
        assert len(after.predictions.filter(last)) < len(before.predictions.filter(last))

    def test_a_shorter_lag_is_caught(self, run_public, public):
        """Statements that are public four months after the quarter, used after one."""
        t = month("2001-05")
        shifted = {
            name: table.with_columns(pl.col("Quarter end").dt.offset_by("-3mo").dt.month_end())
            if name == "statements" else table
            for name, table in public.items()
        }  # fmt: skip
        rewritten = self.rewrite(public, t)
        rewritten["statements"] = rewritten["statements"].with_columns(
            pl.col("Quarter end").dt.offset_by("-3mo").dt.month_end()
        )
        found = differences_up_to(t, run_public(shifted), run_public(rewritten))
        assert {d.family for d in found if d.largest > 1e-9} == {"ipca", "ca2"}


# Leaks, planted one at a time. Each is a mistake that somebody makes sooner or later.


def month_before(column: str = "month") -> pl.Expr:
    return pl.col(column).dt.offset_by("-1mo").dt.month_end()


def characteristics_of_the_month_itself(monkeypatch):
    """z_t instead of z_t-1: the shift by one month is forgotten."""
    real = build.rank_known

    def leaky(characteristics, names, universe, options):
        return real(characteristics.with_columns(month_before()), names, universe, options)

    monkeypatch.setattr(build, "rank_known", leaky)


def medians_of_the_whole_year(monkeypatch):
    """Missing characteristics filled with medians over all months at hand, not over their own."""
    real = build.rank_known

    def leaky(characteristics, names, universe, options):
        filled = characteristics.with_columns(
            pl.col(n).fill_null(pl.col(n).median()) for n in names if n != "mvel1"
        )
        return real(filled, names, universe, options)

    monkeypatch.setattr(build, "rank_known", leaky)


def universe_of_those_with_a_return(monkeypatch):
    """Stocks without a return in t are dropped before ranking: ranks know who survives."""
    real = pipeline.build_panel

    def leaky(characteristics, stock_months, *rest):
        survivors = stock_months.filter(pl.col("ret").is_not_null()).select("asset_id", month_before())
        return real(
            characteristics.join(survivors, on=["asset_id", "month"], how="semi"), stock_months, *rest
        )

    monkeypatch.setattr(pipeline, "build_panel", leaky)


def market_equity_of_the_month_itself(monkeypatch):
    """Value weights by market equity at the end of t: winners weigh more."""
    real = pipeline.build_panel

    def leaky(characteristics, stock_months, *rest):
        later = stock_months.select("asset_id", month_before(), "market_equity")
        moved = characteristics.drop("market_equity").join(later, on=["asset_id", "month"], how="left")
        return real(moved, stock_months, *rest)

    monkeypatch.setattr(pipeline, "build_panel", leaky)


def risk_premia_with_the_month_itself(monkeypatch):
    """The mean of f up to t instead of t-1."""

    def leaky(fitted, test, source):
        model, history, expected, explained = fitted.model, fitted.history, [], []
        for t in range(len(test)):
            known, outcome = test.known(t), source.outcome(t)
            factors = model.latent_factors(source.known(t), outcome)
            history = history.extended(outcome.month, factors)
            expected.append(model.returns_given(known, history.factors.mean(axis=0)))
            explained.append(fitted_returns(model, known, factors))
        return np.stack([np.concatenate(expected), np.concatenate(explained)])

    monkeypatch.setattr(predictions, "_predict", leaky)


def statements_known_when_the_quarter_ends(monkeypatch):
    """Joined on period_end: known a day after the quarter instead of when they were filed."""
    real = of_study.compute_characteristics

    def leaky(stock_months, statements, *rest):
        early = statements.with_columns(available_from=pl.col("period_end").dt.offset_by("1d"))
        return real(stock_months, early, *rest)

    monkeypatch.setattr(of_study, "compute_characteristics", leaky)


def the_last_report_instead_of_the_first(monkeypatch):
    """A restatement replaces what was known at the time (dates of the first report, numbers of the last)."""
    real = compute._first_reports

    def leaky(statements):
        last = (
            statements.sort("available_from").group_by("asset_id", "period_end", maintain_order=True).last()
        )
        return real(
            statements.select("asset_id", "period_end", "available_from").join(
                last.drop("available_from"), on=["asset_id", "period_end"]
            )
        )

    monkeypatch.setattr(compute, "_first_reports", leaky)


def a_window_that_holds_the_test_year(monkeypatch):
    """The window is one year late: its validation year is the test year."""
    real = pipeline.window_for

    def leaky(study, test_year):
        window = real(study, test_year)
        (a, b), (c, d) = window.train, window.validation
        return Window((a + 1, b + 1), (c + 1, d + 1), test_year)

    monkeypatch.setattr(pipeline, "window_for", leaky)
    # The history then ends with the test year, which `risk_premia` refuses: the second mistake it takes.
    monkeypatch.setattr(
        "seqpricing_core.models.factor_model.FactorHistory.risk_premia",
        lambda self, month: self.factors.mean(axis=0),
    )


@pytest.mark.parametrize(
    ("plant", "quantity"),
    [
        (characteristics_of_the_month_itself, "expected_return"),
        (medians_of_the_whole_year, "expected_return"),
        (universe_of_those_with_a_return, "expected_return"),
        (market_equity_of_the_month_itself, "market_equity"),
        (risk_premia_with_the_month_itself, "expected_return"),
        (statements_known_when_the_quarter_ends, "expected_return"),
        (the_last_report_instead_of_the_first, "expected_return"),
        (a_window_that_holds_the_test_year, "expected_return"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_leak_is_caught(expected_returns_change, tables, monkeypatch, plant, quantity):
    """The check that the honest pipeline passes reports each of these, in every family."""
    plant(monkeypatch)
    sections = {"number_of_factors": [2], "training": {"max_epochs": 3, "batch_months": 12, "patience": 3}}
    t = month("2004-06")
    found, _, _ = expected_returns_change(tables, t, some_leave_in_t=True, **sections)
    caught = {
        difference.family
        for difference in found
        # More than rounding: a leak that matters.
        if difference.quantity == quantity and difference.largest > 1e-9
    }
    assert caught == {"ipca", "ca2", "seqlat"}
