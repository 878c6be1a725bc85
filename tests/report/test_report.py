"""The page and its figures, on scores small enough to read the expected text off."""

from __future__ import annotations

import datetime as dt
import functools
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest

from seqpricing_core.models.family import TITLES
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.report import figures
from seqpricing_core.report.page import Report, ReportInputs, finding, render_report
from seqpricing_core.report.style import family_style
from seqpricing_core.report.tables import Scores, number, strategy_tables
from seqpricing_core.storage import Artifact
from seqpricing_core.study import Study

MODELS = [("ipca", 1), ("ipca", 3), ("ca2", 1), ("oracle", 3)]
"""CA2 was not estimated at K = 3."""

SOURCES = {
    "simulated": {"kind": "simulated", "seed": 7, "stocks": 80},
    "public": {
        "kind": "public_files", "prices": "/somewhere/prices.parquet",
        "statements": "/somewhere/statements.parquet", "factors": "/somewhere/factors.csv",
    },
    "own": {
        "kind": "canonical_files", "stock_months": "a.parquet", "statements": "b.parquet",
        "factors": "c.parquet",
    },
}  # fmt: skip

SCORES = {
    "total_r2_stocks": [0.1234, 0.2, -0.012, 0.4],
    "total_r2_managed": [0.3, 0.31, 0.32, 0.5],
    "predictive_r2_stocks": [0.0034, -0.001, 0.0035, -0.0078],
    "predictive_r2_managed": [0.01, float("nan"), 0.02, 0.04],
    "sharpe_long_short_equal": [0.81, 1.5, 0.806, 1.2],
    "net_sharpe_long_short_equal": [0.5, 1.1, 0.4, 0.9],
    "mean_return_long_short_equal": [0.01, 0.02, -0.0125, 0.03],
    "turnover_long_short_equal": [1.88, 2.0, 1.7, 2.1],
}


def make_study(source: str = "simulated", **changes: object) -> Study:
    return Study.model_validate({
        "name": "small", "title": "Small market", "source": SOURCES[source],
        "sample": {"first_month": "2000-01", "last_month": "2005-12"},
        "windows": {"train_years": 3, "validation_years": 1},
        "number_of_factors": [1, 3], "models": {"ipca": {}, "ca2": {}}, **changes,
    })  # fmt: skip


def make_performance(models: list[tuple[str, int]] = MODELS) -> pl.DataFrame:
    rows = [
        (family, k, measure, values[MODELS.index((family, k))], values[-1])
        for measure, values in SCORES.items()
        for family, k in models
    ]
    columns = ["family", "number_of_factors", "measure", "value", "oracle"]
    table = pl.DataFrame(rows, schema=columns, orient="row")
    share = None if ("oracle", 3) not in models else pl.col("value") / pl.col("oracle")
    return table.select(
        pl.exclude("oracle"),
        share_of_oracle=pl.lit(None, pl.Float64) if share is None else share,
    )


def make_portfolio_returns(
    models: list[tuple[str, int]] = MODELS, last: dt.date = dt.date(2005, 12, 31)
) -> pl.DataFrame:
    months = pl.date_range(dt.date(2004, 1, 1), last, "1mo", eager=True).dt.month_end()
    random = np.random.default_rng(1)
    names = ["long_short", "long_only", *(f"quantile_{q}" for q in range(1, 11))]
    return pl.concat(
        pl.DataFrame({"month": months, "return": random.normal(0.01, 0.04, len(months))}).select(
            pl.lit(family).alias("family"), pl.lit(k).alias("number_of_factors"),
            pl.lit(weights).alias("weights"), pl.lit(name).alias("portfolio"), "month", "return",
            turnover=pl.lit(1.0), net_return=pl.col("return") - 0.003,
        )
        for family, k in models
        for weights in ("equal", "value")
        for name in names
    )  # fmt: skip


def make_inputs(source: str = "simulated", last: dt.date = dt.date(2005, 12, 31)) -> ReportInputs:
    models = MODELS if source == "simulated" else MODELS[:-1]
    months = np.arange("2000-01", np.datetime64(last, "M") + 1, dtype="datetime64[M]")
    square = np.ones((len(months), 2, 2))
    years = range(2004, last.year + 1)
    return ReportInputs(
        performance=make_performance(models),
        portfolio_returns=make_portfolio_returns(models, last),
        r2_by_year=pl.DataFrame(
            [(f, k, year, 0.2, -0.01) for f, k in models for year in years],
            schema=["family", "number_of_factors", "year", "total_r2", "predictive_r2"], orient="row",
        ),
        managed=ManagedPortfolios(
            months, square, square[:, 0], square[:, 0], np.full(len(months), 812.0),
            np.arange(len(months)) + 60,
        ),
        provenance={"data fingerprint": "0123456789abcdef", "run <1>": "a & b"},
    )  # fmt: skip


@functools.cache
def page(source: str = "simulated") -> str:
    return render_report(make_study(source), make_inputs(source)).html


def without_scripts(html: str) -> tuple[str, list[str]]:
    """The page without its scripts, and their opening tags."""
    opening = re.findall(r"<script[^>]*>", html)
    return re.sub(r"<script[^>]*>.*?</script>", "", html, flags=re.DOTALL), opening


def table_cells(html: str, title: str) -> list[list[str]]:
    """Rows of the table with this title, as text; markup other than <b> is dropped."""
    (table,) = re.findall(rf'<table class="scores" aria-label="{title}">(.*?)</table>', html, re.DOTALL)
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"(?!</?b>)<[^>]*>", "", cell).strip() for cell in row] for row in cells]


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "digits", "text"),
        [
            (1.005, 1, "1.0"), (-0.5, 2, "−0.50"), (-0.001, 2, "0.00"), (12345.6, 0, "12346"),
            (float("nan"), 2, "n/a"), (float("-inf"), 2, "n/a"),
        ],
    )  # fmt: skip
    def test_minus_sign_and_zero(self, value, digits, text):
        assert number(value, digits) == text

    def test_r_squared_in_percent_with_shares_best_and_absent(self):
        rows = table_cells(page(), "Total R²")
        assert rows[0] == ["Model", "Assets", "K = 1", "K = 3"]
        assert rows[1] == ["IPCA", "rt", "<b>12.34</b>(31%)", "20.00(50%)"]
        assert rows[2] == ["", "xt", "30.00(60%)", "31.00(62%)"]
        assert rows[3] == ["CA2", "rt", "−1.20(−3%)", "–"]
        assert rows[4] == ["", "xt", "<b>32.00</b>(64%)", "–"]
        # One value across all K: the oracle has one K of its own, and is never the best.
        assert rows[5] == ["Oracle K = 3", "rt", "40.00"]
        assert rows[6] == ["", "xt", "50.00"]

    def test_no_share_of_an_oracle_that_is_not_positive_and_nan_is_shown(self):
        rows = table_cells(page(), "Predictive R²")
        assert rows[1] == ["IPCA", "rt", "0.34", "−0.10"]
        assert rows[2] == ["", "xt", "1.00(25%)", "n/a"]
        assert rows[5] == ["Oracle K = 3", "rt", "−0.78"]

    def test_values_that_read_the_same_are_both_best(self):
        rows = table_cells(page(), "Sharpe ratio, equal weights, before costs")
        assert rows[1] == ["Long–short"]
        assert rows[2][1] == "<b>0.81</b>(68%)"
        assert rows[3][1] == "<b>0.81</b>(67%)"
        # A column with a single model has no best; 125% of the oracle can happen.
        assert rows[2][2] == "1.50(125%)"

    def test_annual_mean_and_monthly_turnover_in_percent(self):
        html = page()
        mean = table_cells(html, "Mean excess return, equal weights, before costs")
        assert mean[2][1:] == ["<b>12.0</b>(33%)", "24.0(67%)"]
        assert mean[3][1] == "−15.0(−42%)"
        turnover = table_cells(html, "Turnover, equal weights")
        assert turnover[2][1:] == ["188", "200"]
        assert turnover[3][1] == "170", "low turnover is not a score to win"

    def test_costs_are_named(self):
        tables = strategy_tables(Scores(make_study(costs={"basis_points": 12.5}), make_performance()))
        assert "Sharpe ratio, value weights, after costs of 12.5 bp" in [table.title for table in tables]
        assert "Costs are 30 basis points" in page()

    def test_only_the_weights_of_the_study(self):
        study = make_study(portfolios={"weights": ["value"]})
        tables = strategy_tables(Scores(study, make_performance()))
        assert [t.title.split(", ")[1] for t in tables] == ["value weights"] * 4

    def test_finding_names_leaders_and_shares(self):
        (finding,) = re.findall(r'<p class="finding">(.*?)</p>', page(), re.DOTALL)
        assert "24 test months (2004-01 to 2005-12), among 3 pairs of model and K" in finding
        assert "IPCA with K = 3 has the highest total R² of stocks (20.00%; 50% of the oracle’s)" in finding
        assert "CA2 with K = 1 has the highest predictive R² (0.35%; the oracle’s is −0.78%)" in finding
        assert "(1.50; 125% of the oracle’s; 1.10 after costs of 30 bp)" in finding

    def test_finding_says_when_nobody_forecasts(self):
        worse = pl.when(pl.col("measure") == "predictive_r2_stocks").then(-0.002).otherwise(pl.col("value"))
        scores = Scores(make_study("own"), make_performance(MODELS[:-1]).with_columns(value=worse))
        assert "predictive R² (−0.20%; none is above zero)" in finding(scores, ["2004-01"])

    def test_finding_without_a_number(self):
        nothing = make_performance(MODELS[:-1]).with_columns(value=pl.lit(float("nan")))
        text = finding(Scores(make_study("own"), nothing), ["2004-01"])
        assert "no model has a predictive R² that is a number" in text


class TestPage:
    def test_simulated_market_says_so(self):
        html = page()
        assert "SIMULATED MARKET: every stock, statement and return below is invented" in html
        assert "shares above 100% can happen by chance" in html

    def test_public_files_say_what_is_wrong_with_them(self):
        last = dt.date(2005, 10, 31)
        html = render_report(make_study("public"), make_inputs("public", last)).html
        assert "SIMULATED" not in html
        assert "survivorship" in html
        assert "2005 has 10 of 12 months, to 2005-10" in html
        assert "prices.parquet" in html
        assert "/somewhere" not in html, "the page must not depend on the machine"

    @pytest.mark.parametrize("source", ["public", "own"])
    def test_no_oracle_where_there_is_none(self, source):
        html = page(source)
        assert "racle" not in html.split("</style>")[1]
        assert table_cells(html, "Total R²")[1] == ["IPCA", "rt", "<b>12.34</b>", "20.00"]

    def test_data_section(self):
        html = page()
        assert "2000-01 to 2005-12: 72 months" in html
        assert "lowest 60, median 96, highest 131" in html
        assert "2004, 2005: 24 months" in html
        assert "2004 after training on 2000–2002 and validation on 2003" in html
        assert "stock-months without a return are dropped" in html
        assert "condition number of Z′Z at most 812" in html

    @pytest.mark.parametrize("source", SOURCES)
    def test_self_contained(self, source):
        html, scripts = without_scripts(page(source))
        assert not any("src" in opening for opening in scripts), "scripts are inline"
        links = re.findall(r"""(?:src|href)\s*=\s*["'](?!#)([^"']*)""", html)
        # Files that are written beside the page: it is read without them.
        assert all(re.fullmatch(r"tables/\w+\.(csv|tex)|model_\w+\.html", link) for link in links)
        assert "url(" not in html.replace("url(#", "")
        assert "@import" not in html
        assert set(re.findall(r"http[^\"' ]*", html)) <= {
            "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
        }  # fmt: skip

    def test_tags_balance(self):
        class Balance(HTMLParser):
            def __init__(self) -> None:
                super().__init__()
                self.open: list[str] = []

            def handle_starttag(self, tag, attrs):
                if tag not in ("meta", "wbr", "br"):
                    self.open.append(tag)

            def handle_endtag(self, tag):
                assert self.open.pop() == tag

        balance = Balance()
        balance.feed(page())
        assert balance.open == []

    def test_unique_ids(self):
        ids = re.findall(r'\bid="([^"]+)"', without_scripts(page())[0])
        assert len(ids) == len(set(ids)) > 0

    def test_byte_identical(self):
        assert render_report(make_study(), make_inputs()).to_bytes() == page().encode()

    def test_escaping(self):
        html = render_report(make_study(title="S&P <500> & friends"), make_inputs()).html
        assert html.count("S&amp;P &lt;500&gt; &amp; friends") == 2
        assert "<500>" not in html
        assert "run &lt;1&gt;" in html
        assert "a &amp; b" in html

    def test_families_and_k_that_the_study_does_not_name(self):
        inputs = make_inputs()
        others = [
            table.filter(family="ca2").with_columns(
                pl.lit("my_model").alias("family"),
                pl.lit(7, table.schema["number_of_factors"]).alias("number_of_factors"),
            )
            for table in (inputs.performance, inputs.portfolio_returns, inputs.r2_by_year)
        ]
        performance, returns, r2 = (
            pl.concat([table, other])
            for table, other in zip(
                (inputs.performance, inputs.portfolio_returns, inputs.r2_by_year), others, strict=True
            )
        )
        html = render_report(make_study(), ReportInputs(performance, returns, r2, inputs.managed, {})).html
        rows = table_cells(html, "Total R²")
        assert rows[0][2:] == ["K = 1", "K = 3", "K = 7"]
        assert rows[5] == ["my_model", "rt", "–", "–", "−1.20(−3%)"]
        assert "Without IPCA, CA2, not estimated at this K" in html

    def test_one_test_year(self):
        html = render_report(make_study(), make_inputs(last=dt.date(2004, 12, 31))).html
        assert "2004: 12 months" in html

    def test_round_trip(self, tmp_path):
        report = Report(page())
        assert isinstance(report, Artifact)
        path = tmp_path / f"report.{Report.suffix}"
        path.write_bytes(report.to_bytes())
        assert Report.from_files([path]) == report


class TestFigures:
    @pytest.fixture(scope="class")
    def all_figures(self):
        inputs, losses = make_inputs(), ([3.0, 2.0, 1.5], [4.0, 3.0, 3.5], 2)
        return {
            "cumulative": figures.cumulative_returns_figure(inputs.portfolio_returns, 1),
            "long_only": figures.cumulative_returns_figure(inputs.portfolio_returns, 3, "value", "long_only"),
            "quantiles": figures.quantile_returns_figure(inputs.portfolio_returns, 1, "equal"),
            "r2": figures.r_squared_by_year_figure(inputs.r2_by_year),
            "losses": figures.loss_curves_figure(dict.fromkeys(range(1, 5), losses), "CA2, 2004"),
            "one_loss": figures.loss_curves_figure({1: losses}),
            "coverage": figures.coverage_figure(inputs.managed.months, inputs.managed.stocks),
        }

    def test_valid_svg_and_png(self, all_figures):
        for name, figure in all_figures.items():
            svg = figures.to_svg(figure, name)
            assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
            assert figures.to_png(figure).startswith(b"\x89PNG\r\n\x1a\n")
        markdown = figures.to_markdown_png(all_figures["coverage"], "stocks")
        assert markdown.startswith("![stocks](data:image/png;base64,iVBOR")

    def test_same_figure_same_bytes(self, all_figures):
        for name in ("cumulative", "losses"):
            figure = all_figures[name]
            assert figures.to_svg(figure) == figures.to_svg(figure)
            assert figures.to_png(figure) == figures.to_png(figure)

    def test_no_time_stamp_and_no_global_state(self, all_figures):
        import matplotlib as mpl

        before = {key: value for key, value in mpl.rcParams.items() if key != "backend"}
        svg = figures.to_svg(all_figures["cumulative"])
        assert {key: mpl.rcParams[key] for key in before} == before
        assert "metadata" not in svg
        assert "<dc:date>" not in svg

    def test_cumulative_returns_by_hand(self):
        returns = make_portfolio_returns().filter(
            family="ipca", number_of_factors=1, weights="equal", portfolio="long_short"
        )
        figure = figures.cumulative_returns_figure(returns, 1)
        line, drawdown = (axes.lines[0] for axes in figure.axes)
        wealth = np.cumprod(1 + np.append(0, returns["return"].to_numpy()))
        assert line.get_ydata() == pytest.approx(100 * np.log(wealth))
        assert drawdown.get_ydata() == pytest.approx(100 * (wealth / np.maximum.accumulate(wealth) - 1))
        assert line.get_xdata()[0] == np.datetime64("2003-12-31")

    def test_ruin_ends_the_line(self):
        returns = make_portfolio_returns().with_columns(
            pl.when(pl.col("month") == dt.date(2004, 6, 30)).then(-1.2).otherwise("return").alias("return")
        )
        data = figures.cumulative_returns_figure(returns, 1).axes[0].lines[0].get_ydata()
        assert np.isfinite(data[:6]).all()
        assert np.isnan(data[6:]).all()

    def test_quantile_means_in_percent(self):
        returns = make_portfolio_returns()
        figure = figures.quantile_returns_figure(returns, 1, "value")
        ipca = next(line for line in figure.axes[0].lines if line.get_label() == "IPCA")
        highest = returns.filter(family="ipca", number_of_factors=1, weights="value", portfolio="quantile_10")
        assert ipca.get_ydata()[-1] == pytest.approx(100 * highest["return"].mean())
        assert ipca.get_xdata() == pytest.approx(np.arange(1, 11))

    def test_a_family_looks_the_same_everywhere(self, all_figures):
        for name in ("cumulative", "quantiles", "r2"):
            for line in all_figures[name].axes[0].lines:
                for family in ("ipca", "ca2", "oracle"):
                    if line.get_label() == family_style(family)["label"]:
                        assert line.get_color() == family_style(family)["color"]

    def test_families_differ_in_grey_too(self):
        styles = [family_style(family) for family in ("ipca", "ca2", "seqlat", "oracle")]
        for key in ("color", "linestyle", "marker"):
            assert len({str(style[key]) for style in styles}) == len(styles)

    def test_no_two_of_all_families_share_a_line_or_a_marker(self):
        """All of them and the oracle: whichever of them a figure shows, its lines differ, and its markers."""
        styles = [family_style(family) for family in TITLES]
        hollow = [style.get("markerfacecolor") == "white" for style in styles]
        lines = {(str(style["linestyle"]), style["linewidth"]) for style in styles}
        markers = {(style["marker"], empty) for style, empty in zip(styles, hollow, strict=True)}
        assert len({style["color"] for style in styles}) == len(lines) == len(markers) == len(TITLES)
