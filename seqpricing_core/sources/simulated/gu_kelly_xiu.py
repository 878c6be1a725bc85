"""The simulation design of Gu, Kelly, Xiu (2020, "Empirical asset pricing via machine learning", appendix A).

It has no prices and no statements but gives characteristics themselves:

    r_i,t+1 = g*(z_i,t) + beta_i,t' v_t+1 + e_i,t+1
    z_i,t = (1, x_t)' (x) c_i,t,     beta_i,t = (c_i1, c_i2, c_i3)

with v ~ N(0, 0.05^2 I_3), e = 0.05 times a t with 5 degrees of freedom, and

    (a)  g* = 0.02 (c_i1 + c_i2 + c_i3 x_t)
    (b)  g* = 0.04 c_i1^2 + 0.03 c_i1 c_i2 + 0.012 sgn(c_i3 x_t)

c_ij,t = 2 rank / (N+1) - 1 of AR(1) processes with coefficients from U(0.9, 1), x_t an AR(1) with 0.95. They
take N = 200, T = 180, P_c = 50 or 100, in thirds: training, validation, test. The t is not scaled to variance
one: their annual volatility of 30% and time-series R2 of 40% come out so, and not with a scaled one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from seqpricing_core.months import month_ends
from seqpricing_core.sources.simulated.truth import Floats, ranks

SCALE: Final = 0.05
"""Of the factors and of the idiosyncratic t."""
PERSISTENCE: Final = 0.95
"""Of x."""

Form = Literal["a", "b"]

PUBLISHED_OLS: Final = {
    ("a", 50): (7.50, 1.14),
    ("a", 100): (8.19, -1.35),
    ("b", 50): (3.44, -4.72),
    ("b", 100): (4.39, -7.75),
}
"""R2 of OLS on all 2 P_c covariates in percent, in and out of sample: table A.1, means over 100 draws."""


@dataclass(frozen=True)
class GuKellyXiuDraw:
    """One draw: T months, N stocks, P_c characteristics."""

    characteristics: Floats
    """(T, N, P_c) c_t, ranks in (-1, 1)."""
    predictor: Floats
    """(T,) x_t."""
    shocks: Floats
    """(T, N) beta_t' v_t+1 + e_t+1."""

    def covariates(self, count: int) -> Floats:
        """(T, N, 2 count) z_t of the first ``count`` characteristics."""
        c = self.characteristics[:, :, :count]
        covariates: Floats = np.concatenate([c, c * self.predictor[:, None, None]], axis=2)
        return covariates

    def expected_returns(self, form: Form) -> Floats:
        """(T, N) g*(z_t), the truth."""
        c1, c2, c3 = np.moveaxis(self.characteristics[:, :, :3], 2, 0)
        interacted = c3 * self.predictor[:, None]
        if form == "a":
            linear: Floats = 0.02 * c1 + 0.02 * c2 + 0.02 * interacted
            return linear
        nonlinear: Floats = 0.04 * c1**2 + 0.03 * c1 * c2 + 0.012 * np.sign(interacted)
        return nonlinear

    def returns(self, form: Form) -> Floats:
        """(T, N) r_t+1."""
        return self.expected_returns(form) + self.shocks

    def table(self, form: Form, first_month: str = "2000-01") -> pl.DataFrame:
        """A plain panel: ``asset_id``, the ``month`` of the return, ``excess_return``, ``expected_return``
        (the truth), ``c_1``, ... and ``x`` of the month before.
        """
        months, stocks, count = self.characteristics.shape
        ends = month_ends(np.datetime64(first_month, "M") + np.arange(months))
        return pl.DataFrame({
            "asset_id": np.tile(np.arange(10_001, 10_001 + stocks), months),
            "month": pl.Series(np.repeat(ends.to_numpy(), stocks)).cast(pl.Date),
            "excess_return": self.returns(form).ravel(),
            "expected_return": self.expected_returns(form).ravel(),
            **{f"c_{j + 1}": self.characteristics[:, :, j].ravel() for j in range(count)},
            "x": np.repeat(self.predictor, stocks),
        })  # fmt: skip


def draw_gu_kelly_xiu(
    seed: int, *, stocks: int = 200, months: int = 180, characteristics: int = 100
) -> GuKellyXiuDraw:
    """One draw of the design; its first 50 characteristics are a draw with P_c = 50."""
    random = np.random.default_rng([seed, 2020])
    rho = random.uniform(0.9, 1, characteristics)
    state = random.standard_normal((stocks, characteristics))
    x = random.standard_normal()
    c = np.empty((months, stocks, characteristics))
    predictor = np.empty(months)
    for t in range(months):
        c[t] = ranks(state)
        predictor[t] = x
        state = rho * state + np.sqrt(1 - rho**2) * random.standard_normal(state.shape)
        x = PERSISTENCE * x + np.sqrt(1 - PERSISTENCE**2) * random.standard_normal()
    factors = SCALE * random.standard_normal((months, 3))
    noise = SCALE * random.standard_t(5, (months, stocks))
    return GuKellyXiuDraw(c, predictor, np.einsum("tnk,tk->tn", c[:, :, :3], factors) + noise)


def ols_r_squared(draw: GuKellyXiuDraw, form: Form, characteristics: int) -> tuple[float, float]:
    """R2 in percent of OLS on all covariates, in the first third and in the last.

    Returns are taken in deviation from their mean over the first third, in both, and without an intercept,
    as in the authors' code.
    """
    z, r = draw.covariates(characteristics), draw.returns(form)
    third = len(r) // 3
    train, test = (z[:third].reshape(-1, z.shape[2]), z[2 * third :].reshape(-1, z.shape[2]))
    mean = r[:third].mean()
    of_train, of_test = r[:third].ravel() - mean, r[2 * third :].ravel() - mean
    coefficients = np.linalg.lstsq(train.T @ train, train.T @ of_train, rcond=None)[0]

    def explained(covariates: Floats, returns: Floats) -> float:
        return 100 * float(1 - ((returns - covariates @ coefficients) ** 2).sum() / (returns**2).sum())

    return explained(train, of_train), explained(test, of_test)
