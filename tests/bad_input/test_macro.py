"""Macro files: transformations and lags by hand, and everything in a file that must be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from seqpricing_core.errors import InputError
from seqpricing_core.pipeline import run_study
from seqpricing_core.sources.macro import read_macro, transform
from seqpricing_core.study import load_study

FRED_MD = Path("/work/shared/data/fred_md_monthly_1959_2020.parquet")
GOYAL_WELCH = FRED_MD.with_name("goyal_welch_predictors_monthly_1871_2024.parquet")
MONTHS = [f"{year}-{month:02d}" for year in range(1999, 2006) for month in range(1, 13)]


def series(seed=0):
    """Months 1999-01 .. 2005-12, two positive series."""
    random = np.random.default_rng(seed)
    return pl.DataFrame({
        "month": MONTHS, "rate": 5 + random.normal(size=84).round(3),
        "output": (100 * np.exp(np.cumsum(random.normal(0.002, 0.01, 84)))).round(4),
    })  # fmt: skip


def fred_md(table):
    """The same in the shape of a FRED-MD file: month of the first day, American, codes above."""
    dates = [f"{int(m[5:])}/1/{m[:4]}" for m in table["month"]]
    body = table.select(pl.Series("sasdate", dates), *(pl.col(c).cast(pl.String) for c in ("rate", "output")))
    return pl.concat([pl.DataFrame({"sasdate": ["Transform:"], "rate": ["2"], "output": ["5"]}), body])


@pytest.fixture
def study_of(tmp_path, make_study):
    """The small study with a macro file that holds this table."""

    def make(table, suffix="csv", **options):
        file = tmp_path / f"macro.{suffix}"
        table.write_csv(file) if suffix == "csv" else table.write_parquet(file)
        return make_study(models={"ipca": {}}, macro={"file": str(file), **options})

    return make


class TestTransformations:
    X = np.array([4.0, 5.0, 4.5, 6.0, 7.5, 7.0])

    @pytest.mark.parametrize("code", range(1, 8))
    def test_by_hand(self, code):
        """McCracken and Ng's seven codes, written out index by index."""
        x, lx = self.X, np.log(self.X)
        formula = {
            1: lambda t: x[t],
            2: lambda t: x[t] - x[t - 1],
            3: lambda t: x[t] - 2 * x[t - 1] + x[t - 2],
            4: lambda t: lx[t],
            5: lambda t: lx[t] - lx[t - 1],
            6: lambda t: lx[t] - 2 * lx[t - 1] + lx[t - 2],
            7: lambda t: (x[t] / x[t - 1] - 1) - (x[t - 1] / x[t - 2] - 1),
        }[code]
        lost = {1: 0, 2: 1, 3: 2, 4: 0, 5: 1, 6: 2, 7: 2}[code]
        result = transform(x, code)
        assert np.isnan(result[:lost]).all()
        np.testing.assert_allclose(result[lost:], [formula(t) for t in range(lost, 6)], atol=1e-14)

    @pytest.mark.parametrize("code", [4, 5, 6, 7])
    def test_no_infinity(self, code):
        assert not np.isinf(transform(np.array([1.0, 0.0, -2.0, 3.0, 4.0]), code)).any()


class TestTiming:
    @pytest.mark.parametrize(("lag", "described"), [(0, "2003-12"), (1, "2003-11"), (2, "2003-10")])
    def test_january_sees_the_month_its_lag_allows(self, study_of, lag, described):
        """At the end of December the value of month m is known if m + lag is December or earlier."""
        table = series()
        row = read_macro(study_of(table, publication_lag_months=lag), 2004).row(0, named=True)
        assert str(row["month"]) == "2004-01-31"
        assert row["rate"] == table["rate"][MONTHS.index(described)]

    def test_default_lag_is_one_month_and_series_have_their_own(self, study_of):
        table = series()
        row = read_macro(study_of(table, publication_lags={"rate": 0}), 2004).row(5, named=True)
        assert row["rate"] == table["rate"][MONTHS.index("2004-05")]
        assert row["output"] == table["output"][MONTHS.index("2004-04")]

    def test_months_end_with_the_sample(self, study_of, make_study):
        study = study_of(series())
        short = study.model_copy(update={"sample": study.sample.model_copy(update={"last_month": "2005-10"})})
        assert len(read_macro(short, 2005)) == 10

    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_fred_md_is_the_table_with_its_codes(self, study_of, suffix):
        table = series()
        wanted = read_macro(study_of(table, transforms={"rate": 2, "output": 5}), 2003)
        found = read_macro(study_of(fred_md(table), suffix, format="fred_md"), 2003)
        assert found.equals(wanted)

    @pytest.mark.parametrize(
        "rewrite",
        [
            lambda t: t.with_columns(pl.col("month").str.replace("-", "")),
            lambda t: t.with_columns(pl.col("month").str.replace("-", "").cast(pl.Int64)),
            lambda t: t.with_columns(pl.col("month").str.to_date("%Y-%m").dt.month_end()),
            lambda t: t.with_columns(pl.col("month") + "-15"),
            lambda t: pl.concat([t, pl.DataFrame({"month": [""], "rate": [None], "output": [None]},
                                                 schema=t.schema)]),
        ],
    )  # fmt: skip
    def test_ways_to_write_a_month(self, study_of, rewrite):
        for suffix in ("csv", "parquet"):
            assert read_macro(study_of(rewrite(series()), suffix), 2003).equals(
                read_macro(study_of(series()), 2003)
            )


class TestRefused:
    @pytest.fixture
    def refused(self, study_of, refuses):
        def check(table, *mentions, year=2003, **options):
            study = study_of(table, **options)
            return refuses(lambda: read_macro(study, year), "macro.csv", *mentions)

        return check

    @pytest.mark.parametrize("dropped", ["2002-07", "2003-01"])
    def test_missing_month(self, refused, dropped):
        refused(series().filter(pl.col("month") != dropped), "do not follow each other", dropped[:5])

    def test_double_and_unsorted_months(self, refused):
        refused(pl.concat([series(), series()[40:41]]), "do not follow each other", "2002-05")
        refused(series().reverse(), "do not follow each other", "2005-11 stands after 2005-12")

    @pytest.mark.parametrize("text", ["2003", "2003-13", "May 2003", "20030531", "31/5/2003"])
    def test_month_that_is_none(self, refused, with_value, text):
        refused(with_value(series(), 52, "month", text), "month cannot be read", "row 53", repr(text))

    @pytest.mark.parametrize("cell", ["1,234.5", "n.a", "five", "inf", "-inf", "1e999"])
    def test_cell_that_is_no_number(self, refused, with_value, cell):
        table = series().with_columns(pl.col("rate").cast(pl.String))
        refused(with_value(table, 20, "rate", cell), "'rate' is no number", "2000-09", repr(cell))

    @pytest.mark.parametrize("cell", ["0", "8", "2.5", "", "x", "-1", "nan"])
    def test_unknown_code_in_the_file(self, refused, with_value, cell):
        table = with_value(fred_md(series()), 0, "output", cell)
        refused(table, "unknown transformation code", "column output", "1 to 7", format="fred_md")

    def test_codes_missing_altogether(self, refused):
        refused(fred_md(series())[1:], "no transformation codes", "'1/1/1999'", format="fred_md")
        refused(fred_md(series())[:0], "no transformation codes", format="fred_md")

    def test_no_month_column(self, refused):
        refused(series().rename({"month": "date"}), "missing month column 'month'", "date, rate, output")
        refused(series(), "missing month column 'sasdate'", format="fred_md")

    @pytest.mark.parametrize("cell", ["", ".", "NA", "NaN"])
    def test_gap(self, refused, with_value, cell):
        """Under a change of logarithms the gap of April 2003 is missed in May and in June, hence t = 6, 7."""
        table = series().with_columns(pl.col("output").cast(pl.String))
        table = with_value(table, MONTHS.index("2003-04"), "output", cell)
        refused(table, "1 macro series without a value", "output for 2003-06 and 1 more",
                "macro.exclude: [output]", transforms={"output": 5})  # fmt: skip

    def test_a_gap_does_not_matter_in_other_years_or_in_a_series_left_out(self, study_of, with_value):
        table = with_value(series(), MONTHS.index("2003-04"), "output", None)
        assert len(read_macro(study_of(table), 2004)) == 12
        assert read_macro(study_of(table, exclude=["output"]), 2003).columns == ["month", "rate"]

    def test_logarithm_of_what_is_not_positive(self, refused, with_value):
        table = with_value(series(), MONTHS.index("2003-04"), "rate", -0.1)
        refused(table, "rate for 2003-06", "logarithm", transforms={"rate": 4})

    def test_file_too_short(self, refused):
        refused(series().filter(pl.col("month") > "2002-12"), "rate for 2003-01", "2003-01 .. 2005-12")
        refused(series().filter(pl.col("month") < "2003-07"), "rate for 2003-09 and 3 more")
        refused(series()[:0], "holds no months")

    @pytest.mark.parametrize("key", ["series", "exclude", "transforms", "publication_lags"])
    def test_misspelt_series(self, refused, key):
        value = {"ouput": 1} if key in ("transforms", "publication_lags") else ["ouput"]
        refused(
            series(), "unknown macro series 'ouput'", f"macro.{key}", "did you mean 'output'?", **{key: value}
        )

    def test_nothing_left(self, refused):
        refused(series(), "no macro series is left", exclude=["rate", "output"])

    def test_no_file(self, make_study, refuses):
        study = make_study(models={"ipca": {}}, macro={"file": "/nowhere/macro.csv"})
        refuses(lambda: read_macro(study, 2003), "/nowhere/macro.csv", "does not exist")

    @pytest.mark.parametrize(
        "option",
        [{"transforms": {"rate": 8}}, {"publication_lag_months": -1}, {"fomat": "fred_md"}, {"series": []}],
    )
    def test_options(self, tmp_path, settings, option):
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(macro={"file": "macro.csv", **option})))
        with pytest.raises(InputError) as caught:
            load_study(file)
        assert f"key macro.{next(iter(option))}" in caught.value.where


def test_a_study_with_macro_series_can_be_hashed(make_study):
    """Definitions are cached by study."""
    one, same, other = (
        make_study(macro={"file": "macro.csv", "transforms": {"rate": code}}) for code in (2, 2, 3)
    )
    assert hash(one) == hash(same)
    assert hash(one) != hash(other)


def test_the_path_is_relative_to_the_study_file(tmp_path, settings):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(settings(macro={"file": "data/macro.csv"})))
    assert load_study(file).macro.file == tmp_path / "data" / "macro.csv"


def test_a_whole_run_stops_before_anything_is_predicted(tmp_path, study_of, refuses):
    study = study_of(series().filter(pl.col("month") < "2004-07"))
    (tmp_path / "outputs").mkdir()
    run_study(study.model_copy(update={"macro": None}), tmp_path / "outputs")
    refuses(lambda: run_study(study, tmp_path / "outputs"), "macro series without a value", "2004-09")


@pytest.mark.real_data
@pytest.mark.skipif(not FRED_MD.is_file(), reason="the real files are not here")
class TestRealFiles:
    def study(self, make_study, **options):
        return make_study(
            models={"ipca": {}}, macro=options, sample={"first_month": "1998-01", "last_month": "2017-10"},
        )  # fmt: skip

    def test_fred_md(self, make_study):
        """All 128 series from 1998; growth of industrial production in October 2008 as FRED shows it."""
        study = self.study(make_study, file=str(FRED_MD), format="fred_md")
        table = pl.concat(read_macro(study, year) for year in range(1998, 2018))
        assert table.shape == (238, 129)
        assert table.null_count().sum_horizontal().item() == 0
        raw = pl.read_parquet(FRED_MD)
        known = dict(zip(raw["sasdate"], raw["INDPRO"], strict=True))
        by_hand = np.log(known["10/1/2008"] / known["9/1/2008"])
        december = table.row(table["month"].cast(pl.String).to_list().index("2008-12-31"), named=True)
        assert december["INDPRO"] == pytest.approx(by_hand, abs=1e-12)

    def test_goyal_welch(self, make_study, refuses):
        options = {"file": str(GOYAL_WELCH), "month_column": "yyyymm"}
        refuses(
            lambda: read_macro(self.study(make_study, **options), 2010),
            "csp for 2010-01 and 11 more",
            "[csp]",
        )
        study = self.study(make_study, **options, exclude=["csp"], transforms={"Index": 5})
        assert read_macro(study, 2017).shape == (10, 17)
