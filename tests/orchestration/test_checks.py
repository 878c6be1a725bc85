"""Every asset check fails on what it is for, and passes on what it is not for."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil

import numpy as np
import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.leak_test import months_that_saw_the_future, moves_of_forecasts
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.models.sanity import doubts, not_finite
from seqpricing_core.panel.drift import SHIFTED, bin_shares, characteristic_drift, shifted
from seqpricing_core.panel.panel import Panel
from seqpricing_core.predictions import predict_test_year
from seqpricing_dagster import checks
from seqpricing_dagster.checks import month_problems, prediction_problems, window_problems
from seqpricing_dagster.health import coverage_problems, expected_month, freshness_problems, loss_problems
from seqpricing_dagster.run import materialize_partition


class TestMonths:
    def test_a_missing_month_and_a_thin_one(self, small):
        study, panel = small.study, small.panels[2003]
        assert month_problems(panel, 2003, study) == []
        without = panel.of_rows(panel.month_of_row != np.datetime64("2003-05"))
        empty = dataclasses.replace(
            without, months=np.delete(panel.months, 4), offsets=np.delete(without.offsets, 5)
        )
        assert month_problems(empty, 2003, study) == ["no stock in 2003-05"]
        few = panel.of_rows((panel.month_of_row != np.datetime64("2003-07")) | (panel.asset_id < 3))
        (problem,) = month_problems(few, 2003, study)
        assert "fewer than 5 stocks in 2003-07" in problem

    def test_the_last_year_may_end_early_where_the_sample_does(self, small, make_study):
        short = make_study(sample={"first_month": "2000-01", "last_month": "2005-10"})
        panel = small.panels[2005].of_rows(small.panels[2005].month_of_row <= np.datetime64("2005-10"))
        cut = dataclasses.replace(panel, months=panel.months[:10], offsets=panel.offsets[:11])
        assert month_problems(cut, 2005, short) == []
        assert month_problems(cut, 2005, small.study) == ["no stock in 2005-11, 2005-12"]

    def test_a_month_in_which_the_market_halves(self, small):
        panel = small.panels[2003]
        assert loss_problems(panel) == []
        late = panel.month_of_row >= np.datetime64("2003-09")
        lost = panel.of_rows(~late | (panel.asset_id % 3 == 0))
        (stocks, returns) = loss_problems(lost)
        assert stocks.startswith("2003-09: ")
        silent = panel.excess_return.copy()
        silent[late & (panel.asset_id % 3 > 0)] = np.nan
        (problem,) = loss_problems(dataclasses.replace(panel, excess_return=silent))
        assert "with a return" in problem
        assert "with a return" in returns


class TestFreshness:
    def test_what_is_expected_follows_the_calendar_or_the_study(self, make_study):
        grows = make_study(sample={"first_month": "2000-01"})
        for today, month in (("2027-01-04", "2025-12"), ("2027-01-05", "2026-12"), ("2027-12-31", "2026-12")):
            assert str(expected_month(grows, dt.date.fromisoformat(today))) == month
        assert str(expected_month(make_study(), dt.date(2040, 1, 1))) == "2005-12"

    def test_old_files_are_named(self):
        december = np.datetime64("2026-12")
        assert freshness_problems(dt.date(2026, 12, 31), december) == []
        assert freshness_problems(dt.date(2026, 11, 30), december) == [
            "the newest month is 2026-11, not 2026-12"
        ]
        assert freshness_problems(None, december) == ["no data of 2026"]


def test_an_empty_characteristic_is_named(small):
    table = small.characteristics[2003]
    problems, missing = coverage_problems(table)
    assert problems == []
    name = next(iter(missing))
    emptied = table.with_columns(pl.when(pl.int_range(pl.len()) < 3).then(pl.col(name)).alias(name))
    assert coverage_problems(emptied)[0] == [f"{name} is missing for 100%"]
    assert coverage_problems(table.clear())[0] == ["no stock-month at all"]


class TestDrift:
    def test_by_hand(self, make_arrays):
        """Two bins: half and half before, three quarters and a quarter after; the formula on paper."""
        panel = make_arrays().panel
        z = np.where(np.arange(len(panel)) % 2 == 0, -0.5, 0.5)[:, None].repeat(4, 1).astype(np.float32)
        before = dataclasses.replace(panel, characteristics=z)
        moved = np.where(np.arange(len(panel)) % 4 == 1, -0.5, z[:, 0])[:, None].repeat(4, 1)
        after = dataclasses.replace(panel, characteristics=moved.astype(np.float32))
        expected = 0.25 * np.log(0.75 / 0.5) + -0.25 * np.log(0.25 / 0.5)
        index = characteristic_drift(before, after)["population_stability_index"].to_list()
        assert index == pytest.approx([expected] * 4, abs=1e-12)

    def test_against_a_slow_loop(self, small):
        before, after = small.panel(2000, 2003), small.panels[2004]
        drift = characteristic_drift(before, after)
        for j, name in enumerate(before.characteristic_names[:5]):
            total = 0.0
            for b in range(10):
                low, high = -1 + 0.2 * b, -1 + 0.2 * (b + 1)
                p, q = (
                    max(float(np.mean((z >= low) & (z < high))), 1e-4)
                    for z in (panel.characteristics[:, j].astype(float) for panel in (before, after))
                )
                total += (q - p) * np.log(q / p)
            (found,) = drift.filter(characteristic=name)["population_stability_index"]
            assert found == pytest.approx(total, abs=0.02)  # ranks that lie on an edge
        assert bin_shares(after).sum(axis=1) == pytest.approx(1, abs=1e-2)

    def test_a_field_that_was_dropped_is_found(self, small):
        before, after = small.panel(2000, 2003), small.panels[2004]
        assert shifted(characteristic_drift(before, after)) == []
        z = after.characteristics.copy()
        z[:, 3] = 0
        drift = characteristic_drift(before, dataclasses.replace(after, characteristics=z))
        assert shifted(drift) == [after.characteristic_names[3]]
        assert drift["population_stability_index"][0] > 10 * SHIFTED


def seen(*arguments):
    return months_that_saw_the_future(moves_of_forecasts(*arguments))


class TestLeaks:
    def test_no_family_moves(self, small):
        test = small.test_sample(2004)
        for fitted in small.fitted.values():
            assert seen(fitted, test, predict_test_year(fitted, test)) == []

    def test_a_forecast_that_knows_its_month_is_caught(self, small):
        """Planted: a ten-thousandth of the month's own return in the forecast."""
        test, fitted = small.test_sample(2004), small.fitted["ipca"]
        honest = predict_test_year(fitted, test)
        leaky = honest.with_columns(pl.col("expected_return") + 1e-4 * pl.col("excess_return").fill_null(0))
        assert len(seen(fitted, test, leaky)) == 7
        assert len(seen(fitted, test, honest[5:])) == 1

    def test_predictions_of_another_fit_are_caught(self, small):
        test = small.test_sample(2004)
        other = predict_test_year(small.fitted["ca1"], test).with_columns(family=pl.lit("ca2"))
        assert len(seen(small.fitted["ca2"], test, other)) == 7


class TestFits:
    @staticmethod
    def with_record(fitted, **changes):
        models = {
            k: tuple(dataclasses.replace(m, record=m.record | changes) for m in members)
            for k, members in fitted.models.items()
        }
        return dataclasses.replace(fitted, models=models)

    def test_a_fit_of_another_window(self, small):
        fitted = small.fitted["ipca"]
        assert window_problems(fitted, 2004) == []
        assert len(window_problems(fitted, 2005)) == 2

    def test_parameters_that_are_no_numbers(self, small):
        fitted = small.fitted["ipca"]
        assert not_finite(fitted) == []
        member = fitted.models[2][0]
        gamma = member.model.gamma.copy()
        gamma[1, 1] = np.nan
        broken = dataclasses.replace(member, model=dataclasses.replace(member.model, gamma=gamma))
        (doubt,) = not_finite(dataclasses.replace(fitted, models={2: (broken,)}))
        assert (doubt.where, doubt.what) == ("K = 2", "gamma holds 1 values that are not finite")

    def test_exploding_and_cut_off_training(self, small):
        record = small.fitted["ca2"].models[1][0].record

        def says(**changes):
            fitted = self.with_record(small.fitted["ca2"], best_epoch=1, **changes)
            return {doubt.what for doubt in doubts(fitted)}

        assert not [what for what in says() if "loss" in what or "cut off" in what]
        first = record["train_loss"][0]
        assert any("exploded" in what for what in says(train_loss=[first, 9 * first]))
        assert any("not finite" in what for what in says(train_loss=[first, float("nan")]))
        endless = self.with_record(small.fitted["ca2"], best_epoch=len(record["validation_loss"]))
        assert any("cut off" in doubt.what for doubt in doubts(endless))
        (doubt, *_) = doubts(self.with_record(small.fitted["ipca"], converged=False, iterations=7))
        assert doubt.what == "not converged after 7 iterations"

    def test_dead_units(self, small):
        """All units of a layer shifted far below zero: they are off for every stock of the panel."""
        fitted = small.fitted["ca2"]
        assert not [doubt for doubt in doubts(fitted) if "always off" in doubt.what]
        member = fitted.models[1][0]
        state = member.model.state()
        (name,) = [name for name in state if name.endswith("norms.1.shift")]
        shift = state[name].copy()
        shift[:3] = -9
        module = __import__("seqpricing_core.models.conditional_autoencoder", fromlist=["restore"])
        model = module.restore(fitted.config, 1, member.record, state | {name: shift})
        dead = dataclasses.replace(fitted, models={1: (dataclasses.replace(member, model=model),)})
        (doubt,) = [doubt for doubt in doubts(dead) if "always off" in doubt.what]
        assert doubt.what == "3 of 4 units of hidden layer 2 are always off"

    @pytest.mark.parametrize(("chosen", "word"), [(0.001, "smallest"), (0.01, None), (0.1, "largest")])
    def test_a_winner_at_the_edge_of_the_grid(self, small, chosen, word):
        fitted = small.fitted["ca2"]
        grid = fitted.config.grid.model_copy(update={"l1": (0.001, 0.01, 0.1)})
        wide = dataclasses.replace(fitted, config=fitted.config.model_copy(update={"grid": grid}))
        winner = fitted.models[1][0].record["winner"] | {"l1": chosen}
        said = [d.what for d in doubts(self.with_record(wide, winner=winner)) if "of the grid" in d.what]
        assert len(said) == (2 if word else 0)  # K = 1 and 2
        assert all(word in what and "l1" in what for what in said)


class TestPredictions:
    def test_what_is_missing_or_too_much(self, small):
        panel, table = small.panels[2004], predict_test_year(small.fitted["ipca"], small.test_sample(2004))
        assert prediction_problems(table, panel) == []
        assert "2004-03" in prediction_problems(table.filter(pl.col("month").dt.month() != 3), panel)[0]
        assert len(prediction_problems(table[1:], panel)) == 1
        broken = table.with_columns(
            pl.col("expected_return").replace(table["expected_return"][0], float("nan"))
        )
        assert prediction_problems(broken, panel) == ["a return is not finite"]


PREDICTIONS = "predictions/ipca/ipca_predictions"


@pytest.fixture
def ours(finished, study_file, tmp_path):
    """A copy of the finished study's files, to do harm to."""
    shutil.copytree(finished.assets, tmp_path / "small" / "assets")
    return dataclasses.replace(finished, folder=tmp_path / "small")


def test_a_partition_that_failed_is_refused_to_later_runs(ours, study_file, monkeypatch):
    """A blocking check fails; no other run reads the partition until it is made again and passes."""
    outputs, reader = ours.folder.parent, ("predictions/managed_portfolio_predictions",)
    with monkeypatch.context() as planted:
        planted.setattr(checks, "months_that_saw_the_future", lambda _: ["2005-02"])
        with pytest.raises(Exception, match="blocking asset check failed"):
            materialize_partition(study_file, outputs, (PREDICTIONS,), "2005")
    with pytest.raises(
        InputError, match="failed the check forecasts_do_not_see_the_future: moved: 2005-02"
    ) as error:
        materialize_partition(study_file, outputs, reader, "2005")
    assert "materialize ipca_predictions 2005 again" in error.value.remedy
    materialize_partition(study_file, outputs, reader, "2004")
    materialize_partition(study_file, outputs, (PREDICTIONS,), "2005")
    materialize_partition(study_file, outputs, reader, "2005")


def test_the_files_of_a_finished_study_raise_no_alarm(finished):
    """Every panel and model of the small study passes what blocks."""
    for year in range(2000, 2006):
        panel = Panel.from_files([finished.assets / f"panel/panel/{year}.arrow"])
        assert month_problems(panel, year, finished.study) == []
    for year in (2004, 2005, 2006):
        for family in finished.study.families:
            fitted = FittedFamily.from_files(
                [finished.assets / f"models/{family}/{family}_models/{year}.safetensors"]
            )
            assert window_problems(fitted, year) == []
            assert not_finite(fitted) == []
