"""The report of the small study with everything in it: page, CSV and LaTeX say the same."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import polars as pl
import pytest

from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores
from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.explain.importance import compute_importance_sums, pool_importance
from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.models.training_record import read_training_records, training_records
from seqpricing_core.portfolios import compute_portfolio_returns
from seqpricing_core.report.coverage import scored_table
from seqpricing_core.report.exports import document, escape, plain
from seqpricing_core.report.forecasts import r_squared_by_year
from seqpricing_core.report.inputs import ReportInputs
from seqpricing_core.report.lineage import Lineage, lineage_of_tables
from seqpricing_core.report.page import Report, render_report
from seqpricing_core.report.shown import Shown
from seqpricing_core.report.significance import against, reference_model
from seqpricing_core.report.training import training_table

LINEAGE = (
    *(Lineage("models/seqlat/seqlat_models", str(year), f"run-{year}", "aa", "bb") for year in (2004, 2005)),
    Lineage("models/ipca/ipca_models", "2004", "run-9", "cc", "bb"),
)


@pytest.fixture(scope="module")
def inputs(results, small) -> ReportInputs:
    fitted = {family: small.fitted[family] for family in small.study.families}
    importance = pl.concat(
        compute_importance_sums(fitted[f], small.test_sample(2004), methods=("zero",))
        for f in ("ipca", "ca2")
    )
    recorded = {
        "evaluation/performance": results.performance,
        "evaluation/portfolio_returns": results.portfolio_returns,
        "evaluation/monthly_scores": results.monthly_scores,
        "evaluation/model_comparison": results.inference.alphas,
    }
    return ReportInputs(
        performance=results.performance,
        portfolio_returns=results.portfolio_returns,
        r2_by_year=r_squared_by_year(results.monthly_scores),
        managed=small.managed_portfolios(2000, 2005),
        provenance={"data fingerprint": "0123", "code version": "4567"},
        lineage=(*lineage_of_tables(recorded, "4567"), *LINEAGE),
        inference=results.inference,
        monthly_scores=results.monthly_scores,
        without_micro_caps=results.portfolio_returns_without_micro_caps,
        importance=pool_importance(importance),
        training=tuple(record for one in fitted.values() for record in training_records(one)),
    )


@pytest.fixture(scope="module")
def report(small, inputs) -> Report:
    return render_report(small.study, inputs)


@pytest.fixture(scope="module")
def pages(report) -> dict[str, str]:
    """Without scripts: by file name."""
    every = {"report.html": report.to_bytes()}
    every |= {name: data for name, data in report.files.items() if name.endswith(".html")}
    return {
        name: re.sub(r"<script[^>]*>.*?</script>", "", data.decode(), flags=re.DOTALL)
        for name, data in every.items()
    }


class Tables(HTMLParser):
    """Every table of scores: by name, rows of (text, what stands below, share)."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = {}
        self._name = ""
        self._part = -1

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "div" and (found.get("id") or "").startswith("table-"):
            self._name = found["id"].removeprefix("table-")
            self.tables[self._name] = []
        elif tag == "tr" and self._name:
            self.tables[self._name].append([])
        elif tag in ("td", "th") and self._name:
            self.tables[self._name][-1].append(["", "", ""])
            self._part = 0
        elif tag == "small":
            self._part = 1 if found.get("class") == "below" else 2

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._part = -1
        elif tag == "small":
            self._part = 0
        elif tag == "table":
            self._name = ""

    def handle_data(self, data):
        if self._name and self._part >= 0:
            self.tables[self._name][-1][-1][self._part] += data.strip()


def read_page(page: str) -> dict[str, list[list[list[str]]]]:
    parser = Tables()
    parser.feed(page)
    return parser.tables


def rows_of_page(rows: list[list[list[str]]], labels: int) -> list[list[str]]:
    """As a CSV has them: block by block, every label repeated, what stands below and beside in columns."""
    below, share = (any(cell[part] for row in rows for cell in row[labels:]) for part in (1, 2))
    block, before, found = "", "", []
    for row in rows[1:]:
        texts = [plain(cell[0]) for cell in row]
        if len(row) == 1:
            block = texts[0]
            continue
        first = (texts[0] or before) if not row[0][2] else f"{texts[0]} {row[0][2]}"
        before = first
        others = [{"rt": "r", "xt": "x"}.get(text, text) for text in texts[1:labels]]
        values = [block, first, *others]
        for text, cell in zip(texts[labels:], row[labels:], strict=True):
            values += [text, *([plain(cell[1]).strip("[]()")] if below else [])]
            values += [plain(cell[2]).strip("()")] if share else []
        found.append([value.replace("‑", "-") for value in values])
    return found


def test_the_tables_read_the_same_as_the_csv_files(report, pages):
    seen = 0
    for page in pages.values():
        for name, rows in read_page(page).items():
            header, *lines = csv.reader(io.StringIO(report.files[f"tables/{name}.csv"].decode()))
            labels = header.index(rows[0][_first_value(rows)][0]) - 1
            page_rows = rows_of_page(rows, labels)
            assert len(page_rows) == len(lines), name
            for ours, theirs in zip(page_rows, lines, strict=True):
                width = max(len(ours), len(theirs))
                assert _padded(ours, width) == _padded([plain(cell) for cell in theirs], width), name
            seen += 1
    assert seen == sum(name.endswith(".csv") for name in report.files) > 60


def _first_value(rows):
    """Place of the first column of values: labels are the headers before it."""
    known = ("Model", "Assets", "K", "Year", "Rank", "Test year", "Seed")
    return next(place for place, cell in enumerate(rows[0]) if cell[0] not in known)


def _padded(values, width):
    return [*values, *[""] * (width - len(values))]


def test_every_link_leads_somewhere(report, pages):
    for name, page in pages.items():
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids)), name
        for link in re.findall(r'href="([^"]+)"', page):
            target = link.removeprefix("#")
            known = target in ids if link.startswith("#") else link in report.files or link == "report.html"
            assert known, f"{name}: {link}"


def test_tables_link_to_what_was_recorded_of_their_asset(pages):
    study, model = pages["report.html"], pages["model_seqlat.html"]
    assert 'href="#lineage-evaluation-performance"' in study
    assert 'href="#lineage-models-seqlat-seqlat_models"' in model
    row = "<td>2005</td><td>run-2005</td><td>aa</td><td>bb</td>"
    assert row in study
    assert row in model
    assert "run-9" in study
    assert "run-9" not in model, "the page of a family leaves out the fits of others"


def test_simulated_data_are_called_so_everywhere(report, pages):
    for page in pages.values():
        assert "SIMULATED MARKET" in page
    assert "Published figures: CRSP/Compustat" in report.files["tables/total_r2.tex"].decode()
    captions = [data.decode() for name, data in report.files.items() if re.match(r"tables/.*\.tex", name)]
    assert all(r"\caption{SIMULATED market: " in text for text in captions)


def test_figures_of_the_papers_stand_beside_ours_with_their_data_named(pages):
    tables = read_page(pages["report.html"])
    texts = [[cell[0] for cell in row] for row in tables["total_r2"]]
    place = next(i for i, row in enumerate(texts) if row[0].startswith("Published in memory, table 1"))
    assert "CRSP/Compustat" in texts[place][0]
    # IPCA of stocks, K = 1 and 2: 12.02 and 16.02 in table 1.
    assert texts[place + 1] == ["IPCA", "rt", "12.02", "16.02"]
    assert ["LSTM", "12.59", "0.45"] in [[cell[0] for cell in row] for row in tables["exhibit_5"]]


def test_plots_are_json_with_the_numbers_of_the_tables(report, results):
    plots = [json.loads(text) for text in re.findall(r'class="plot">(.*?)</script>', report.html)]
    deciles = next(p for p in plots if "lowest to highest" in p["layout"]["xaxis"]["title"]["text"])
    ipca = next(trace for trace in deciles["data"] if trace["name"] == "IPCA")
    returns = results.portfolio_returns.filter(
        family="ipca", number_of_factors=2, weights="equal", portfolio="quantile_5"
    )
    assert ipca["y"][-1] == pytest.approx(100 * returns["return"].mean(), rel=1e-5)
    assert ipca["x"] == [1, 2, 3, 4, 5]


def test_same_inputs_same_bytes(small, inputs, report):
    again = render_report(small.study, inputs)
    assert again.to_bytes() == report.to_bytes()
    assert again.files == report.files


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(report, tmp_path):
    """Debian: apt install texlive-latex-base texlive-latex-recommended."""
    report.write_files(tmp_path)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
    assert "?" not in escape("Σ α β √ − – ’ ′ → ≤ ² & % _ # { } ~ ^ \\ $")


def test_files_of_an_earlier_report_go(report, tmp_path):
    for stale in ("tables/old.csv", "model_gone.html"):
        (tmp_path / stale).parent.mkdir(exist_ok=True)
        (tmp_path / stale).write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    report.write_files(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*report.files, "mine.txt"}


def test_inference_survives_its_file(results, tmp_path):
    path = tmp_path / "inference.zip"
    path.write_bytes(results.inference.to_bytes())
    again = InferenceTables.from_files([path])
    for name, table in vars(results.inference).items():
        assert getattr(again, name).equals(table), name
    assert again.to_bytes() == path.read_bytes()


def test_training_records_from_files_are_those_of_the_fits(small, tmp_path):
    path = tmp_path / "2004.safetensors"
    path.write_bytes(small.fitted["seqlat"].to_bytes())
    records = read_training_records([path])
    for ours, theirs in zip(records, training_records(small.fitted["seqlat"]), strict=True):
        assert vars(ours) == vars(theirs) | {"record": json.loads(json.dumps(theirs.record))}
    table = training_table("seqlat", records)
    row = table.blocks[0].rows[0]
    best = records[0].record
    assert row.labels == ("2004", "1", "1")
    assert row.cells[3].text == str(best["best_epoch"])
    assert row.cells[4].text == f"{min(best['validation_loss']):.4f}"


def test_table_5_is_from_the_side_of_the_reference(results, small):
    models = [
        (f, k) for f, k in results.performance.select("family", "number_of_factors").unique().iter_rows()
    ]
    reference = reference_model(small.study, models)
    assert reference == ("seqlat", 2)
    tests = results.inference.sharpe_tests.filter(weights="equal", costs="before", portfolio="long_short")
    seen = against(tests, reference)
    sharpe = results.performance.filter(measure="sharpe_long_short_equal", number_of_factors=2)
    values = dict(sharpe.select("family", "value").iter_rows())
    for family in ("ipca", "ca2"):
        (row,) = seen.filter(family=family, number_of_factors=2).iter_rows(named=True)
        assert row["difference"] == pytest.approx(values["seqlat"] - values[family], abs=1e-9)
        assert (row["p_reference_better"] < 0.5) == (row["difference"] > 0)


def test_forecasters_stand_beside_every_k():
    table = pl.DataFrame(
        {"family": ["rf_forecast", "ipca", "ipca", "oracle"], "number_of_factors": [0, 1, 2, 3]}
    )
    assert Shown(2).models(table) == [("ipca", 2), ("rf_forecast", 0), ("oracle", 3)]
    assert Shown(2, "ipca").models(table) == [("ipca", 1), ("ipca", 2)]


def test_texts_are_escaped_in_latex():
    text = document("S&P \\input{x}", ["a_b"])
    assert r"S\&P \textbackslash{}input\{x\}" in text
    assert r"\input{tables/a_b.tex}" in text


def test_a_model_absent_in_some_windows_is_said_so(results):
    scores = results.monthly_scores
    assert scored_table(Shown(2), scores) is None, "all models have the same months"
    short = scores.filter((pl.col("family") != "ca2") | (pl.col("month").dt.year() == 2004))
    table = scored_table(Shown(2), short)
    cells = {row.labels: [cell.text for cell in row.cells] for row in table.blocks[0].rows}
    assert cells["CA2", "2"][:3] == ["2004-01", "2004-12", "12"]
    assert cells["IPCA", "2"][:3] == ["2004-01", "2005-12", "24"]


def test_r2_by_year_is_that_of_the_predictions(results):
    by_year = r_squared_by_year(results.monthly_scores)
    keys = ["family", "number_of_factors", "year"]
    expected = compute_r_squared(results.predictions.with_columns(year=pl.col("month").dt.year()), keys)
    both = by_year.join(expected, on=keys, suffix="_expected")
    assert len(both) == len(by_year) == len(expected)
    for name in ("total_r2", "predictive_r2"):
        assert both[name].to_list() == pytest.approx(both[f"{name}_expected"].to_list())


def test_other_columns_of_predictions_change_nothing(results, small):
    """Exchange, half-spread and sector, where a source has them."""
    model = results.predictions.filter(family="ipca", number_of_factors=1)
    more = model.with_columns(exchange=pl.lit("NYSE"), half_spread=pl.lit(0.001), sector=pl.lit("36"))
    assert compute_monthly_scores(more).equals(compute_monthly_scores(model))
    portfolios, costs = small.study.portfolios, small.study.costs
    columns = ["return", "turnover", "net_return"]
    with_more, without = (compute_portfolio_returns(t, portfolios, costs)[columns] for t in (more, model))
    assert with_more.equals(without)
