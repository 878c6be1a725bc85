"""Which characteristics a source can have, what a study may ask for, and the page that says so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from seqpricing_core.characteristics.document import document
from seqpricing_core.characteristics.lists import LISTS
from seqpricing_core.characteristics.registry import (
    DAILY_REGISTRY,
    REGISTRY,
    absent_characteristics,
    available_characteristics,
    history_years,
    read_days,
)
from seqpricing_core.sources.canonical_files import CanonicalFiles
from seqpricing_core.sources.inputs import EVERYTHING, SIMULATED, source_inputs
from seqpricing_core.tables import STOCK_MONTHS, required_columns

ROOT = Path(__file__).parents[2]


class TestLists:
    @pytest.mark.parametrize(
        ("name", "count", "first", "last"),
        [
            ("memory", 64, "absacc", "turn"),
            # The appendix says 51 and lists 50; table 6 of deepchar says 62 and lists 61.
            ("sequence", 50, "A2ME", "Tan"),
            ("deepchar", 61, "Lag market equity", "Seasonality"),
            ("recurrent", 16, "60VOL", "ILLIQ"),
            ("trend", 21, "Normalized Daily Return", "CTI 252"),
        ],
    )
    def test_every_name_of_a_paper_is_one_of_ours(self, name, count, first, last):
        names, registry = LISTS[name], DAILY_REGISTRY if name == "trend" else REGISTRY
        assert len(names) == len(set(names.values())) == count
        assert next(iter(names)) == first
        assert list(names)[-1] == last
        assert set(names.values()) <= set(registry)

    def test_overlaps_stand_once(self):
        """64 + 50 + 61 + 16 names, fewer characteristics; those in no list are named here."""
        held = Counter(acronym for name in LISTS if name != "trend" for acronym in LISTS[name].values())
        assert sum(held.values()) == 191
        assert held["mvel1"] == 4
        assert set(REGISTRY) - set(held) == {"coskew", "high52", "retvol_12", "invest"}
        assert len({entry.name for entry in REGISTRY.values()}) == len(REGISTRY)

    @pytest.mark.parametrize("registry", [REGISTRY, DAILY_REGISTRY], ids=["monthly", "daily"])
    def test_every_entry_says_everything(self, registry):
        for entry in registry.values():
            assert all((entry.name, entry.formula, entry.paper, entry.known_from, entry.definition.inputs))
            inputs = {i for name in entry.definition.inputs for i in name.split(" or ")}
            assert inputs <= EVERYTHING, entry.acronym

    def test_the_page_is_up_to_date(self):
        """Else: python -m seqpricing_core.characteristics.document docs/characteristics.md."""
        assert (ROOT / "docs" / "characteristics.md").read_text(encoding="utf-8") == document()


class TestAbsent:
    def test_a_source_with_everything_lacks_nothing(self):
        assert absent_characteristics(EVERYTHING) == {}
        assert available_characteristics("all", EVERYTHING) == tuple(REGISTRY)
        assert available_characteristics("memory", EVERYTHING) == tuple(LISTS["memory"])

    @pytest.mark.parametrize(
        ("lacking", "acronym", "reason"),
        [
            ("statements.inventory", "quick", "the source has no statements.inventory"),
            ("stock_months.sic", "indmom", "the source has no stock_months.sic"),
            ("stock_days.ret", "beta", "the source has no stock_days.ret"),
            ("factor_days.size", "rvar_ff3", "the source has no factor_days.size"),
            ("statements.quarterly", "roa", "the source has no statements.quarterly"),
            ("stock_months.unadjusted_price", "eps", "the source has no stock_months.unadjusted_price"),
        ],
    )
    def test_the_reason_names_what_is_missing(self, lacking, acronym, reason):
        absent = absent_characteristics(EVERYTHING - {lacking})
        assert absent[acronym] == reason
        assert "mom_12" not in absent
        with pytest.raises(ValueError, match=f"not '{acronym}': {reason}"):
            available_characteristics((acronym,), EVERYTHING - {lacking})

    def test_years_or_quarters_will_do_for_annual_ones(self):
        neither = EVERYTHING - {"statements.annual", "statements.quarterly"}
        assert "bm" in absent_characteristics(neither)
        assert "statements.annual or statements.quarterly" in absent_characteristics(neither)["bm"]
        for kind in ("annual", "quarterly"):
            assert "bm" not in absent_characteristics(neither | {f"statements.{kind}"})

    def test_the_second_definition_where_the_first_has_no_inputs(self):
        """Illiquidity and the deviation of turnover need days, or do without."""
        months = frozenset(name for name in EVERYTHING if "_days" not in name)
        assert not {"ill", "stdturn", "dpi2a"} & set(absent_characteristics(months))
        assert REGISTRY["ill"].definition_from(months) is REGISTRY["ill"].instead
        assert REGISTRY["ill"].definition_from(EVERYTHING) is REGISTRY["ill"].definition
        assert read_days(("ill",), EVERYTHING)
        assert not read_days(("ill",), months)

    def test_history(self):
        assert history_years(("mom_36", "bm")) == 3
        assert history_years(("mom_60",)) == history_years(("sue", "bm")) == 6


class TestStudies:
    def test_all_is_what_the_source_provides(self, make_study):
        study = make_study(characteristics="all")
        assert study.acronyms == available_characteristics("all", SIMULATED)
        assert {"mom_60", "roavol", "ps"} - set(study.acronyms) == {"ps"}
        assert study.absent_characteristics["ps"] == "the source has no statements.cost_of_revenue"
        assert study.history_years == 6

    def test_a_list_of_a_paper(self, make_study):
        study = make_study(characteristics="recurrent")
        assert "mom_12" in study.acronyms
        assert set(study.absent_characteristics) == {"beta", "oproa", "accruals_op"}
        assert len(study.acronyms) == 16 - 3

    @pytest.mark.parametrize(
        ("characteristics", "message"),
        [
            (["mom_12", "beta"], "not 'beta': the source has no stock_days.ret"),
            (["mom_12", "quick"], "not 'quick': the source has no statements.inventory"),
            (["mom_13"], "did you mean 'mom_1'"),
            ("memroy", "'all', 'memory', 'sequence', 'deepchar' or 'recurrent'"),
        ],
    )
    def test_what_the_source_cannot_provide_is_an_error(self, make_study, characteristics, message):
        with pytest.raises(ValidationError, match=message):
            make_study(characteristics=characteristics)

    def test_a_price_floor_needs_the_price_that_traded(self, make_study):
        with pytest.raises(ValidationError, match="unadjusted_price in stock_months"):
            make_study(universe={"minimum_price": 5})


class TestInputs:
    def test_the_simulated_market_is_what_it_says(self, small):
        files = [small.folder / f"{name}.parquet" for name in ("stock_months", "statements", "factors")]
        assert CanonicalFiles(*files).inputs() == SIMULATED == source_inputs(small.study.source)

    @pytest.mark.parametrize("suffix", ["parquet", "csv"])
    def test_files_without_optional_columns(self, small, tmp_path, suffix, make_study):
        """Columns that are empty, or not there, are not provided; days are, when there is a file of them."""
        paths = {}
        tables = {name: small.tables[name] for name in ("stock_months", "statements", "factors")}
        tables["stock_months"] = tables["stock_months"].with_columns(
            sic=pl.lit(2834), exchange=pl.lit(None, dtype=pl.String)
        )
        tables["statements"] = tables["statements"].with_columns(period_months=pl.lit(12))
        tables["stock_days"] = pl.DataFrame({
            "asset_id": [1], "day": ["2001-03-30"], "ret": [0.01], "bid": [2.0],
        })  # fmt: skip
        for name, table in tables.items():
            paths[name] = tmp_path / f"{name}.{suffix}"
            getattr(table, f"write_{suffix}")(paths[name])
        study = make_study(
            source={"kind": "canonical_files"} | {name: str(path) for name, path in paths.items()},
            characteristics="all",
        )
        months = {c for c in required_columns(STOCK_MONTHS) if c not in ("asset_id", "month")}
        expected = (
            SIMULATED - {"statements.quarterly"}
            | {"statements.annual", "stock_months.sic", "stock_days.ret", "stock_days.bid"}
        )  # fmt: skip
        assert study.inputs == expected
        assert months <= {name.removeprefix("stock_months.") for name in expected}

    def test_files_that_are_not_there_yet_are_taken_to_hold_everything(self, tmp_path, make_study):
        names = ("stock_months", "statements", "factors")
        paths = {name: str(tmp_path / f"{name}.parquet") for name in names}
        assert make_study(source={"kind": "canonical_files"} | paths).inputs == EVERYTHING
