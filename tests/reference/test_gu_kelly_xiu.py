"""The design of Gu, Kelly, Xiu (2020, appendix A) against the figures that they publish for it."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from seqpricing_core.sources.simulated.gu_kelly_xiu import (
    PUBLISHED_OLS,
    draw_gu_kelly_xiu,
    ols_r_squared,
)

DRAWS = 16


@pytest.fixture(scope="module")
def scores():
    """(draws, 2) R2 in and out of sample of each design."""
    found = {design: [] for design in PUBLISHED_OLS}
    for seed in range(DRAWS):
        draw = draw_gu_kelly_xiu(seed)
        for (form, count), of_design in found.items():
            of_design.append(ols_r_squared(draw, form, count))
    return {design: np.array(of_design) for design, of_design in found.items()}


class TestPublishedFigures:
    @pytest.mark.parametrize("design", list(PUBLISHED_OLS))
    def test_ols(self, scores, design):
        """Table A.1, within 3.5 standard errors of the difference of our mean and that of their 100 draws."""
        ours = scores[design]
        error = ours.std(axis=0, ddof=1) * np.sqrt(1 / DRAWS + 1 / 100)
        assert (error < (1.2, 5.0)).all()
        assert (np.abs(ours.mean(axis=0) - PUBLISHED_OLS[design]) < 3.5 * error).all()

    def test_twice_the_characteristics_fit_better_and_forecast_worse(self, scores):
        """Draw by draw, which the spread between draws does not blur: 0.69 and -2.49, 0.95 and -3.03."""
        for form, published in (("a", (0.69, -2.49)), ("b", (0.95, -3.03))):
            change = scores[form, 100] - scores[form, 50]
            error = change.std(axis=0, ddof=1) * np.sqrt(1 / DRAWS + 1 / 100)
            assert (np.abs(change.mean(axis=0) - published) < 3.5 * error).all()
            assert (change[:, 0] > 0).all()

    def test_volatility_and_time_series_fit(self):
        """Their calibration: stocks' annual volatility about 30%, factors explain about 40% over time."""
        draw = draw_gu_kelly_xiu(0)
        assert 0.27 < np.sqrt(12) * draw.returns("a").std(axis=0).mean() < 0.33
        noise_share = 0.05**2 * 5 / 3 / draw.shocks.var()
        assert 0.3 < 1 - noise_share < 0.45


class TestDraw:
    def test_same_seed_same_draw(self):
        one, two, other = (
            draw_gu_kelly_xiu(seed, stocks=20, months=12, characteristics=5) for seed in (1, 1, 2)
        )
        assert one.shocks.tobytes() == two.shocks.tobytes() != other.shocks.tobytes()
        assert one.characteristics.tobytes() == two.characteristics.tobytes()

    def test_formulas_stock_by_stock(self):
        draw = draw_gu_kelly_xiu(3, stocks=8, months=5, characteristics=4)
        for t in range(5):
            assert sorted(draw.characteristics[t, :, 0]) == pytest.approx(
                [2 * k / 9 - 1 for k in range(1, 9)]
            )
            for i in range(8):
                c1, c2, c3 = draw.characteristics[t, i, :3]
                x = draw.predictor[t]
                assert draw.expected_returns("a")[t, i] == pytest.approx(0.02 * (c1 + c2 + c3 * x))
                bent = 0.04 * c1**2 + 0.03 * c1 * c2 + (0.012 if c3 * x > 0 else -0.012)
                assert draw.expected_returns("b")[t, i] == pytest.approx(bent)

    def test_in_sample_fit_by_statsmodels(self):
        draw = draw_gu_kelly_xiu(4, stocks=30, months=30, characteristics=5)
        z = draw.covariates(5)[:10].reshape(-1, 10)
        r = draw.returns("b")[:10].ravel()
        fit = OLS(r - r.mean(), z).fit()  # without a constant: its R2 is not centred, and the mean is zero
        assert ols_r_squared(draw, "b", 5)[0] == pytest.approx(100 * fit.rsquared)

    def test_as_a_table(self):
        draw = draw_gu_kelly_xiu(5, stocks=6, months=4, characteristics=4)
        table = draw.table("a")
        assert table.shape == (24, 2 + 2 + 4 + 1)
        row = table.row(6 * 2 + 3, named=True)
        assert row["excess_return"] == draw.returns("a")[2, 3]
        assert row["c_2"] == draw.characteristics[2, 3, 1]
        assert (str(row["month"]), row["asset_id"]) == ("2000-03-31", 10004)
