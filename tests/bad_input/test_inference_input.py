"""Every test refuses what it cannot use, by name."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from seqpricing_core.inference.confidence_set import model_confidence_set, superior_predictive_ability
from seqpricing_core.inference.deflated_sharpe import deflated_sharpe, expected_maximum_sharpe
from seqpricing_core.inference.diebold_mariano import diebold_mariano
from seqpricing_core.inference.fama_macbeth import estimate_fama_macbeth
from seqpricing_core.inference.grs import gibbons_ross_shanken
from seqpricing_core.inference.intervals import MEAN, SHARPE, bootstrap_interval
from seqpricing_core.inference.ledoit_wolf import ledoit_wolf
from seqpricing_core.inference.multiple_testing import add_adjusted_p_values
from seqpricing_core.inference.newey_west import newey_west_regression
from seqpricing_core.inference.sharpe_difference import jobson_korkie_memmel
from seqpricing_core.inference.squared_sharpe import squared_sharpe_difference

GOOD = np.random.default_rng(0).normal(0.01, 0.05, 60)
HOLED = np.where(np.arange(60) == 7, math.nan, GOOD)
PAIRED = (jobson_korkie_memmel, ledoit_wolf, diebold_mariano, gibbons_ross_shanken, squared_sharpe_difference)


@pytest.mark.parametrize("test", PAIRED)
def test_a_missing_month_has_its_place_named(refuses, test):
    refuses(lambda: test(GOOD, HOLED), "nan", "position 7")


@pytest.mark.parametrize("test", PAIRED)
def test_series_of_different_length(refuses, test):
    refuses(lambda: test(GOOD, GOOD[1:]), "differ in length", "60 months", "59 months")


@pytest.mark.parametrize("test", [jobson_korkie_memmel, ledoit_wolf])
def test_constant_returns_have_no_sharpe_ratio(refuses, test):
    refuses(lambda: test(GOOD, np.full(60, 0.01)), "constant at 0.01", "b")


def test_too_few_months(refuses):
    refuses(lambda: jobson_korkie_memmel(GOOD[:2], GOOD[1:3]), "2 month(s)")
    refuses(lambda: ledoit_wolf(GOOD[:11], GOOD[1:12]), "11 month(s)", "at least 12")
    refuses(lambda: bootstrap_interval(MEAN, GOOD[:11]), "11 month(s)")
    refuses(lambda: newey_west_regression(GOOD[:4], GOOD[:4]), "4 month(s)")
    panel = pl.DataFrame(
        {"month": [dt.date(2001, 1, 31)] * 9, "asset_id": range(9), "r": GOOD[:9], "z": GOOD[9:18]}
    )
    refuses(lambda: estimate_fama_macbeth(panel, "r", ["z"]), "1 usable month(s)")


def test_intervals(refuses):
    refuses(lambda: bootstrap_interval(MEAN, GOOD, level=95), "level 95")
    refuses(lambda: bootstrap_interval(MEAN, GOOD, replications=10), "10 replications")
    refuses(lambda: bootstrap_interval(SHARPE, np.full(60, 0.01)), "constant", "sharpe")


@pytest.mark.parametrize("length", [0, -3, 31])
def test_block_lengths(refuses, length):
    where = (f"blocks of {length} months", "1 to 30")
    refuses(lambda: bootstrap_interval(MEAN, GOOD, block_length=length), *where)
    refuses(lambda: ledoit_wolf(GOOD, GOOD[::-1], block_length=length), *where)
    losses = np.column_stack([GOOD, GOOD[::-1]])
    refuses(lambda: model_confidence_set(losses, ["a", "b"], block_length=length), *where)
    refuses(lambda: superior_predictive_ability(GOOD, GOOD[::-1], block_length=length), *where)


def test_grs(refuses):
    assets = np.random.default_rng(1).normal(size=(20, 18))
    refuses(
        lambda: gibbons_ross_shanken(assets, np.column_stack([GOOD[:20], GOOD[20:40]])),
        "18 assets and 2 factors",
    )
    legs = np.random.default_rng(1).normal(size=(60, 2))
    refuses(
        lambda: gibbons_ross_shanken(np.column_stack([legs, legs[:, 0] - legs[:, 1]]), GOOD),
        "linearly dependent", "long-short",
    )  # fmt: skip
    refuses(lambda: gibbons_ross_shanken(legs, np.column_stack([GOOD, 2 * GOOD])), "factors")
    refuses(lambda: gibbons_ross_shanken(2 * GOOD, GOOD), "assets beyond the factors")
    refuses(
        lambda: squared_sharpe_difference(np.column_stack([GOOD, GOOD]), GOOD), "squared Sharpe ratio of a"
    )


def test_confidence_sets(refuses):
    losses = np.random.default_rng(1).random((60, 2))
    refuses(lambda: model_confidence_set(losses, ["a"]), "1 model name(s)")
    refuses(lambda: model_confidence_set(losses, ["a", "a"]), "distinct")
    refuses(lambda: model_confidence_set(losses[:, :1], ["a"]), "at least two models")
    refuses(lambda: model_confidence_set(losses, ["a", "b"], size=5), "size of 5")
    refuses(lambda: superior_predictive_ability(losses[:, 0], losses), "model 0", "leave the benchmark out")


def test_deflated_sharpe(refuses):
    refuses(lambda: deflated_sharpe(np.full(60, 0.01), [0.1]), "constant")
    refuses(lambda: deflated_sharpe(GOOD, []), "trial_sharpes")
    refuses(lambda: expected_maximum_sharpe(-1.0, 3), "variance of -1")


def test_p_values_that_are_statistics(refuses):
    refuses(lambda: add_adjusted_p_values(pl.DataFrame({"p_value": [0.1, 2.3]})), "2.3", "p_value")


class TestFamaMacBeth:
    def panel(self, **changed):
        random = np.random.default_rng(0)
        months = pl.date_range(dt.date(2001, 1, 1), dt.date(2001, 8, 1), "1mo", eager=True).dt.month_end()
        return pl.DataFrame({
            "month": np.repeat(months.to_numpy(), 10), "asset_id": list(range(10)) * 8,
            "r": random.normal(size=80), "z": random.normal(size=80),
        }).with_columns(**changed)  # fmt: skip

    def test_bad_rows(self, refuses):
        march = pl.col("month") == dt.date(2001, 3, 31)
        flat = self.panel(z=pl.when(march).then(1.0).otherwise("z"))
        refuses(lambda: estimate_fama_macbeth(flat, "r", ["z"]), "constant or collinear", "2001-03-31")
        refuses(
            lambda: estimate_fama_macbeth(self.panel(z=pl.lit(math.inf)), "r", ["z"]), "not finite", "r, z"
        )
        doubled = self.panel(asset_id=pl.lit(1))
        refuses(lambda: estimate_fama_macbeth(doubled, "r", ["z"]), "stands twice")

    def test_missing_values_and_thin_months_are_left_out(self):
        whole = self.panel()
        gaps = whole.with_columns(
            r=pl.when((pl.col("month") == dt.date(2001, 3, 31)) & (pl.col("asset_id") > 1))
            .then(None)
            .otherwise("r")
        )
        kept = whole.filter(pl.col("month") != dt.date(2001, 3, 31))
        found, expected = (estimate_fama_macbeth(t, "r", ["z"]) for t in (gaps, kept))
        assert found.equals(expected)
        assert found["months"][0] == 7
