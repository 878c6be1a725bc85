"""x_t = (Z'Z)^-1 Z'r_t against numpy's lstsq, statsmodels and linearmodels, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from linearmodels.panel.model import FamaMacBeth

from seqpricing_core.panel.managed_portfolios import (
    CONDITION_LIMIT,
    compute_managed_portfolios,
    solve_gram,
    with_constant,
)


@pytest.mark.parametrize("constant", [True, False])
class TestRegularMonths:
    @pytest.fixture
    def arrays(self, make_arrays, constant):
        return make_arrays(seed=2, balanced=False, constant=constant)

    def test_lstsq(self, arrays, constant):
        for t, (ranks, r) in enumerate(zip(arrays.z, arrays.r, strict=True)):
            z = np.column_stack([ranks, np.ones(len(ranks))]) if constant else ranks
            expected = np.linalg.lstsq(z.astype(np.float64), r, rcond=None)[0]
            np.testing.assert_allclose(arrays.managed.x[t], expected, atol=1e-12)

    def test_statsmodels(self, arrays, constant):
        for t in (0, 47):
            z = arrays.z[t].astype(np.float64)
            ols = sm.OLS(arrays.r[t], sm.add_constant(z, prepend=False) if constant else z).fit()
            np.testing.assert_allclose(arrays.managed.x[t], ols.params, atol=1e-12)

    def test_linearmodels(self, arrays, constant):
        """The mean of x is the Fama-MacBeth estimate."""
        month = np.repeat(pd.date_range("2000-01-31", periods=48, freq="ME"), [len(z) for z in arrays.z])
        index = pd.MultiIndex.from_arrays([np.concatenate(arrays.asset_id), month])
        z = np.concatenate(arrays.z).astype(np.float64)
        z = np.column_stack([z, np.ones(len(z))]) if constant else z
        names = [f"z{j}" for j in range(z.shape[1])]
        r = pd.Series(np.concatenate(arrays.r), index=index, name="r")
        estimate = FamaMacBeth(r, pd.DataFrame(z, index=index, columns=names)).fit()
        np.testing.assert_allclose(arrays.managed.x.mean(axis=0), estimate.params, atol=1e-12)

    def test_gram_matrices_by_loops(self, arrays, constant):
        width = 4 + constant
        for t in (0, 30):
            gram, cross = np.zeros((width, width)), np.zeros(width)
            for row, outcome in zip(arrays.z[t], arrays.r[t], strict=True):
                z = [*map(float, row), *([1.0] if constant else [])]
                for p in range(width):
                    cross[p] += z[p] * outcome
                    for q in range(width):
                        gram[p, q] += z[p] * z[q]
            np.testing.assert_allclose(arrays.managed.gram[t], gram, atol=1e-12)
            np.testing.assert_allclose(arrays.managed.cross[t], cross, atol=1e-12)
            assert arrays.managed.stocks[t] == len(arrays.z[t])
            singular = np.linalg.svd(gram, compute_uv=False)
            assert arrays.managed.condition_number[t] == pytest.approx(singular[0] / singular[-1])


class TestSingularMonths:
    """Rank-deficient Z: the least-norm solution, which fits as well as any (numpy's lstsq is the oracle)."""

    @pytest.mark.parametrize("defect", ["zero column", "equal columns", "fewer stocks than columns"])
    def test_least_norm(self, make_arrays, defect):
        panel = make_arrays(seed=4, stocks=30 if "fewer" not in defect else 3).panel
        z = panel.characteristics.copy()
        if defect == "zero column":
            z[:, 2] = 0
        elif defect == "equal columns":
            z[:, 2] = z[:, 0]
        managed = compute_managed_portfolios(replace(panel, characteristics=z))
        assert (managed.condition_number > CONDITION_LIMIT).all()
        for t in (0, 20):
            rows = panel.rows(t)
            wide = with_constant(z[rows], constant=True)
            expected = np.linalg.lstsq(wide, panel.excess_return[rows], rcond=1e-7)[0]
            np.testing.assert_allclose(managed.x[t], expected, atol=1e-8)
            np.testing.assert_allclose(wide @ managed.x[t], wide @ expected, atol=1e-8)

    def test_a_zero_column_earns_nothing(self, make_arrays):
        panel = make_arrays(seed=4).panel
        z = panel.characteristics.copy()
        z[:, 1] = 0
        managed = compute_managed_portfolios(replace(panel, characteristics=z))
        np.testing.assert_allclose(managed.x[:, 1], 0, atol=1e-12)

    def test_many_right_sides(self):
        random = np.random.default_rng(0)
        z, right = random.normal(size=(20, 4)), random.normal(size=(4, 3))
        for gram in (z.T @ z, np.diag([1.0, 2.0, 0.0, 3.0])):
            expected = np.linalg.pinv(gram) @ right
            np.testing.assert_allclose(solve_gram(gram, right), expected, atol=1e-12)
            for j in range(3):
                np.testing.assert_allclose(solve_gram(gram, right[:, j]), expected[:, j], atol=1e-12)
