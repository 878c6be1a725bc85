"""Forecast and explanation: risk premia from the past alone, returns averaged over an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.factor_model import (
    FactorHistory,
    FittedFactorModel,
    LatentFactorModel,
    expected_returns,
    factor_history,
    fitted_returns,
)
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.panel import MonthKnown
from seqpricing_core.predictions import oracle_predictions, predict_managed_portfolios, predict_test_year
from seqpricing_core.windows import Window


def month(text: str) -> np.datetime64:
    return np.datetime64(text, "M")


def history(first: str, *factors: list[float]) -> FactorHistory:
    return FactorHistory(month(first) + np.arange(len(factors)), np.array(factors))


class TestFactorHistory:
    def test_mean_of_all_earlier_months(self):
        premia = history("2000-01", [0.01, 0.0], [0.03, -0.2], [0.02, 0.5]).risk_premia(month("2000-04"))
        np.testing.assert_allclose(premia, [0.02, 0.1])

    @pytest.mark.parametrize("forecast", ["2000-03", "2000-02", "1999-12"])
    def test_refuses_the_month_itself_and_later_ones(self, forecast):
        held = history("2000-01", [0.01], [0.02], [0.03])
        with pytest.raises(ValueError, match=f"{forecast}.*earlier months only.*2000-01 .. 2000-03"):
            held.risk_premia(month(forecast))

    def test_refuses_an_empty_one(self):
        with pytest.raises(ValueError, match="no month"):
            FactorHistory(np.array([], dtype="datetime64[M]"), np.empty((0, 2))).risk_premia(month("2000-01"))

    def test_the_mean_forgets_nothing(self):
        """Forty years of months weigh the same: the first as much as the last."""
        held = history("1960-01", *([float(n)] for n in range(480)))
        np.testing.assert_allclose(held.risk_premia(month("2000-01")), [479 / 2])

    def test_extended_leaves_the_shorter_one_as_it_was(self):
        before = history("2000-01", [0.01], [0.03])
        after = before.extended(month("2000-03"), np.array([0.05]))
        assert len(before.months) == 2
        np.testing.assert_allclose(before.risk_premia(month("2000-03")), [0.02])
        np.testing.assert_allclose(after.risk_premia(month("2000-04")), [0.03])


@dataclass(frozen=True)
class Transparent(LatentFactorModel):
    """A model whose numbers can be followed: two characteristics as loadings, two x as factors."""

    scale: float = 1.0

    def factor_loadings(self, known) -> np.ndarray[Any, Any]:
        return self.scale * known.characteristics[:, :2].astype(np.float64)

    def latent_factors(self, known, outcome) -> np.ndarray[Any, Any]:
        return outcome.managed_portfolios[:2] / self.scale**2

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        return {}


def test_expected_and_fitted_returns_by_hand():
    """Loadings (1, 2) and (0.5, -1); mean of the factors before the month (0.01, 0.002)."""
    z = np.array([[1.0, 2.0], [0.5, -1.0]], dtype=np.float32)
    known = MonthKnown(month("2000-03"), np.arange(2), z, np.ones(2), np.empty((0, 2)))
    before = history("2000-01", [0.03, 0.001], [-0.01, 0.003])
    np.testing.assert_allclose(expected_returns(Transparent(), known, before), [0.014, 0.003])
    np.testing.assert_allclose(fitted_returns(Transparent(), known, np.array([-0.1, 0.05])), [0.0, -0.1])


@pytest.mark.parametrize("first", ["2000-01", "2000-03"])
def test_no_forecast_from_factors_of_the_month_itself(first):
    """The history reaches into the month, or begins with it."""
    z = np.ones((2, 2), dtype=np.float32)
    known = MonthKnown(month("2000-03"), np.arange(2), z, np.ones(2), np.empty((0, 2)))
    with pytest.raises(ValueError, match=r"2000-03.*earlier months only"):
        expected_returns(Transparent(), known, history(first, [0.0, 0.0], [0.1, 0.0], [0.1, 0.0]))


@pytest.fixture(scope="module")
def transparent(small):
    """Two members with different rotations, fitted on the window of 2004."""
    samples = small.samples(2004)
    members = tuple(
        FittedFactorModel(model, factor_history(model, samples.train, samples.validation), {})
        for model in (Transparent(1.0), Transparent(0.5))
    )
    return FittedFamily(IPCA(), Window((2000, 2002), (2003, 2003), 2004), {2: members})


class TestPredictions:
    def test_slow_loop(self, small, transparent):
        """Stock by stock, month by month: the mean of x up to t-1 for the forecast, x_t for the fit."""
        predictions = predict_test_year(transparent, small.test_sample(2004))
        panel, x = small.panels[2004], small.managed_portfolios(2000, 2004).x[:, :2]
        place = 0
        for t in range(12):
            mean = [sum(x[s][k] for s in range(48 + t)) / (48 + t) for k in (0, 1)]
            for row in range(panel.offsets[t], panel.offsets[t + 1]):
                z = panel.characteristics[row, :2].astype(float)
                # Member 1 has beta = z, f = x; member 2 beta = z / 2, f = 4 x: products are averaged.
                expected = (z[0] * mean[0] + z[1] * mean[1]) * (1 + 2) / 2
                fitted = (z[0] * x[48 + t][0] + z[1] * x[48 + t][1]) * (1 + 2) / 2
                line = predictions.row(place, named=True)
                place += 1
                assert line["asset_id"] == panel.asset_id[row]
                assert line["month"].strftime("%Y-%m") == str(panel.months[t])
                assert line["expected_return"] == pytest.approx(expected, rel=1e-9, abs=1e-15)
                assert line["fitted_return"] == pytest.approx(fitted, rel=1e-9, abs=1e-15)
                there = not np.isnan(panel.excess_return[row])
                assert line["excess_return"] == (panel.excess_return[row] if there else None)
                assert line["market_equity"] == panel.market_equity[row]
        assert place == len(predictions) == len(panel)

    def test_columns(self, results):
        assert results.predictions.columns == [
            "family", "number_of_factors", "month", "asset_id",
            "expected_return", "fitted_return", "excess_return", "market_equity",
        ]  # fmt: skip
        complete = results.predictions.select(pl.exclude("market_equity", "excess_return"))
        assert not complete.null_count().sum_horizontal()[0]

    def test_every_family_predicts_the_same_stock_months(self, results):
        models = results.predictions.filter(pl.col("family") != "oracle")
        sizes = models.group_by("family", "number_of_factors").agg(
            pl.len(), pl.struct("month", "asset_id").n_unique().alias("distinct")
        )
        assert sizes.height == 6  # three families with two K each
        assert sizes["len"].n_unique() == 1
        assert sizes["len"].equals(sizes["distinct"])
        # Of a stock that left in the month there is no truth.
        there = models.filter(pl.col("excess_return").is_not_null())
        assert len(results.predictions) - len(models) == len(there) / 6
        assert len(there) < len(models)

    def test_oracle_is_the_truth(self, small):
        """Row by row from the truth file."""
        panel = small.panels[2005].with_returns()
        lookup = {
            (row["month"].strftime("%Y-%m"), row["asset_id"]): row
            for row in small.tables["truth"].iter_rows(named=True)
        }
        predictions = oracle_predictions(small.tables["truth"], panel)
        for row, of_row, asset in zip(
            predictions.iter_rows(named=True), panel.month_of_row, panel.asset_id, strict=True
        ):
            truth = lookup[str(of_row), asset]
            assert row["asset_id"] == asset
            assert row["expected_return"] == truth["expected_return"]
            assert row["fitted_return"] == truth["fitted_return"]

    def test_managed_portfolios_by_least_squares(self, small, results):
        """Numpy's lstsq of each column on Z and a constant, month by month."""
        panel = small.panels[2004].with_returns()
        of_year = results.predictions.filter(
            pl.col("month").dt.year() == 2004,
            pl.col("family") != "oracle",
            pl.col("excess_return").is_not_null(),
        )
        projected = predict_managed_portfolios(of_year, panel, constant=True)
        for t in (0, 7):
            rows = panel.rows(t)
            z = np.column_stack([panel.characteristics[rows].astype(float), np.ones(rows.stop - rows.start)])
            for family in ("ipca", "seqlat"):
                here = (
                    (pl.col("family") == family)
                    & (pl.col("number_of_factors") == 2)
                    & (pl.col("month").dt.month() == t + 1)
                )
                stocks, portfolios = of_year.filter(here), projected.filter(here)
                assert portfolios["portfolio"].to_list() == [*panel.characteristic_names, "constant"]
                for column in ("expected_return", "fitted_return", "excess_return"):
                    solution = np.linalg.lstsq(z, stocks[column].to_numpy(), rcond=None)[0]
                    np.testing.assert_allclose(portfolios[column].to_numpy(), solution, atol=1e-10)
                np.testing.assert_allclose(
                    portfolios["excess_return"].to_numpy(), small.managed[2004].x[t], atol=1e-12
                )

    def test_rows_that_are_not_the_panels(self, small, results):
        shuffled = results.predictions.filter(pl.col("month").dt.year() == 2004).reverse()
        with pytest.raises(ValueError, match="not the rows of the panel"):
            predict_managed_portfolios(shuffled, small.panels[2004], constant=True)
