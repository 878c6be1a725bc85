"""What changed between two studies: settings, data, code, numbers."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace

import polars as pl
import pytest
from rich.console import Console

from seqpricing_core.report.comparison import NumberChange, compare_records, render_comparison
from seqpricing_core.report.inputs import ReportInputs
from seqpricing_core.report.lineage import Lineage
from seqpricing_core.report.record import StudyRecord, read_record
from seqpricing_core.study import Study
from seqpricing_dagster.comparison import compare_studies

BEHIND = (
    Lineage("panel/panel", "2004", "run-1", "aaaa", "v1"),
    Lineage("panel/panel", "2005", "run-2", "bbbb", "v1"),
)


SCORES = {
    "total_r2_stocks": 0.1234, "predictive_r2_managed": math.nan, "sharpe_long_short_equal": 0.81,
    "turnover_long_only_equal": 1.88, "mean_return_long_short_equal": None,
}  # fmt: skip


def inputs(**changes: object) -> ReportInputs:
    months = pl.DataFrame({"month": [dt.date(2004, 1, 31), dt.date(2004, 2, 29)]})
    rows = [
        (family, k, m, value) for family in ("ipca", "ca2") for k in (1, 2) for m, value in SCORES.items()
    ]
    performance = pl.DataFrame(rows, ["family", "number_of_factors", "measure", "value"], orient="row")
    made = ReportInputs(performance, months, performance, None, {"data fingerprint": "0123"}, BEHIND)
    return replace(made, **changes)


@pytest.fixture
def record(make_study):
    def make(study: Study | None = None, **changes: object) -> StudyRecord:
        return replace(StudyRecord.of(study or make_study(), inputs()), **changes)

    return make


def test_nothing_changes_between_a_study_and_itself(record):
    comparison = compare_records(record(), record())
    found = (comparison.config, comparison.data, comparison.code, comparison.changed)
    assert not any(found)
    assert len(comparison.numbers) == len(record().numbers)
    assert "0 of" in comparison.summary


def test_config_key_by_key(record, make_study):
    windows = {"train_years": 2, "validation_years": 2}
    other = make_study(windows=windows, models={"ipca": {"tolerance": 1e-3}, "ca1": {}})
    changed = {one.name: (one.before, one.after) for one in compare_records(record(), record(other)).config}
    assert changed["windows.train_years"] == ("3", "2")
    assert changed["models.ipca.tolerance"][1] == "0.001"
    assert changed["models.ca2.family"] == ("ca2", None)
    assert changed["models.ca1.family"] == (None, "ca1")
    assert "windows.first_test_year" not in changed
    assert not any(name.startswith("source") for name in changed)


def test_where_files_lie_is_no_setting(record, make_study):
    here, there = (
        make_study(inference={"factor_returns": f"/{folder}/factors.parquet"}) for folder in ("here", "there")
    )
    assert not compare_records(record(here), record(there)).config
    other = make_study(inference={"factor_returns": "/there/others.parquet"})
    (change,) = compare_records(record(here), record(other)).config
    assert (change.name, change.after) == ("inference.factor_returns", "others.parquet")


def test_data_and_code(record):
    restated = (BEHIND[0], replace(BEHIND[1], data_fingerprint="cccc", code_version="v2"))
    comparison = compare_records(record(), record(lineage=restated))
    assert [(c.name, c.before, c.after) for c in comparison.data] == [("panel/panel 2005", "bbbb", "cccc")]
    assert [(c.name, c.before, c.after) for c in comparison.code] == [("panel/panel", "v1", "v2")]


def test_numbers_and_their_texts(record):
    before = record()
    key = ("ipca", 1, "total_r2_stocks")
    after = record(numbers=before.numbers | {key: 0.1334, ("ipca", 9, "sharpe_long_short_equal"): 0.5})
    changed = {(c.family, c.factors, c.measure): c for c in compare_records(before, after).changed}
    assert changed[key].texts == ("12.34", "13.34", "+1.00")
    assert changed["ipca", 9, "sharpe_long_short_equal"].texts == ("–", "0.50", "–")
    assert len(changed) == 2
    assert NumberChange("ipca", 1, "turnover_long_only_equal", 2.0, 1.5).texts == ("200", "150", "−50")


def test_page_and_terminal(record, tmp_path):
    for name, changes in (("a", {}), ("b", {"title": "Other <market>"})):
        folder = tmp_path / name / "assets" / "evaluation" / "report"
        folder.mkdir(parents=True)
        (folder / "record.json").write_bytes(record(**changes).to_bytes())
    console = Console(record=True, width=140)
    compare_studies(tmp_path / "a", tmp_path / "b", tmp_path / "page.html", console)
    html = (tmp_path / "page.html").read_text()
    assert "small simulated market → Other &lt;market&gt;" in html
    assert "SIMULATED MARKET: both sides are invented" in html
    assert "<script" not in html
    assert "SIMULATED data" in console.export_text()
    assert render_comparison(compare_records(record(), record())).count("None: all") == 1


def test_a_record_survives_its_file(record, tmp_path):
    file = tmp_path / "record.json"
    file.write_bytes(record().to_bytes())
    again = read_record(tmp_path)
    assert again.lineage == BEHIND
    assert not compare_records(again, read_record(file)).changed
    # A number that is none (a NaN of the small table) comes back as nothing.
    assert again.numbers["ipca", 2, "predictive_r2_managed"] is None
    json.loads(file.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"title": "x"}'])
def test_no_record_or_a_damaged_one(refuses, tmp_path, content):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    refuses(lambda: read_record(tmp_path), "record" if content is None else "cannot be read")
