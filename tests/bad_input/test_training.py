"""Odd windows and candidates that blow up: training ends well, or with an error that names the window."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from seqpricing_core.models.configs import CA0, CA1, CA2, CA3, Grid, SeqGAT, SeqLAT, SeqRAT
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.study import Training
from seqpricing_core.windows import split_estimation

TRAINING = Training(max_epochs=5, patience=5, batch_months=12)
EXPLODES = 1e30
HIDDEN = {CA0: (), CA1: (4,), CA2: (5, 4), CA3: (5, 4, 3), SeqRAT: (4,), SeqGAT: (4,), SeqLAT: (4,)}


def config(family=CA1, *rates, l1=(0.0,)):
    grid = Grid(l1=l1, learning_rate=rates or (0.01,), beta_hidden=(HIDDEN[family],))
    return family(grid=grid) if family in (CA0, CA1, CA2, CA3) else family(grid=grid, lookback=3)


class TestCandidatesThatDiverge:
    @pytest.mark.parametrize("family", HIDDEN)
    def test_they_lose_and_disturb_nobody(self, make_arrays, tmp_path, family):
        """A finite candidate has the losses of a training in which the other never was."""
        samples = make_arrays().samples
        fitted = fit_family(config(family, EXPLODES, 0.01), [1, 2], samples, TRAINING)
        alone = fit_family(config(family, 0.01), [1, 2], samples, TRAINING)
        for k in (1, 2):
            record, other = fitted.models[k][0].record, alone.models[k][0].record
            assert record["winner"]["learning_rate"] == 0.01
            assert [c["validation_loss"] is None for c in record["candidates"]] == [True, False]
            for name in ("train_loss", "validation_loss"):
                np.testing.assert_allclose(record[name], other[name], rtol=1e-5)
            assert np.isfinite(fitted.models[k][0].history.factors).all()
        file = tmp_path / "fitted.safetensors"
        file.write_bytes(fitted.to_bytes())
        kept = FittedFamily.from_files([file]).models[2][0].record
        assert kept == json.loads(json.dumps(fitted.models[2][0].record, allow_nan=False))

    @pytest.mark.parametrize("family", [CA0, CA2, SeqGAT])
    def test_if_all_diverge_the_window_is_named(self, make_arrays, family):
        pattern = r"none of the 1 candidates .*test year 2004, K = 2, seed 1"
        with pytest.raises(FloatingPointError, match=pattern):
            fit_family(config(family, EXPLODES), [2], make_arrays().samples, TRAINING)

    def test_returns_that_are_not_finite(self, make_arrays):
        """One infinite return in training: no candidate can have a loss, and no model comes of it."""
        arrays = make_arrays()
        returns = arrays.panel.excess_return.copy()
        returns[40] = np.inf
        panel = replace(arrays.panel, excess_return=returns)
        samples = split_estimation(arrays.samples.window, panel, arrays.managed)
        for family in (CA0, CA1, CA2, SeqLAT):
            with pytest.raises(FloatingPointError, match="test year 2004"):
                fit_family(config(family), [1], samples, TRAINING)


def samples_of(arrays, **changed):
    """The window with other stock-months; x is worked out anew."""
    panel = replace(arrays.panel, **changed)
    return split_estimation(arrays.samples.window, panel, compute_managed_portfolios(panel))


def keep(panel, rows):
    """The panel with these rows only (bool)."""
    return Panel(
        panel.characteristic_names, panel.months, np.concatenate([[0], np.cumsum(rows)])[panel.offsets],
        panel.asset_id[rows], panel.characteristics[rows], panel.excess_return[rows],
        panel.market_equity[rows],
    )  # fmt: skip


@pytest.mark.parametrize("family", HIDDEN)
class TestOddWindows:
    @staticmethod
    def fits(family, samples, training=TRAINING):
        """Finite losses, factors and loadings; the first training loss is no better than zero error."""
        (fitted,) = fit_family(config(family), [2], samples, training).models[2]
        known = samples.validation.known(11)
        for numbers in (
            fitted.record["train_loss"], fitted.record["validation_loss"], fitted.history.factors,
            fitted.model.factor_loadings(known),
        ):  # fmt: skip
            assert np.isfinite(numbers).all()
        assert min(fitted.record["train_loss"]) >= 0
        return fitted

    def test_fewer_stocks_than_characteristics(self, make_arrays, family):
        self.fits(family, make_arrays(stocks=4, width=6).samples)

    def test_a_constant_characteristic(self, make_arrays, family):
        """Zero in every month, as a characteristic that nobody reports is once it is ranked."""
        arrays = make_arrays()
        z = arrays.panel.characteristics.copy()
        z[:, 1] = 0
        self.fits(family, samples_of(arrays, characteristics=z))

    def test_all_characteristics_constant(self, make_arrays, family):
        """Nothing tells stocks apart: their loadings are the same."""
        arrays = make_arrays()
        samples = samples_of(arrays, characteristics=np.zeros_like(arrays.panel.characteristics))
        fitted = self.fits(family, samples)
        assert np.ptp(fitted.model.factor_loadings(samples.validation.known(3)), axis=0).max() == 0

    def test_a_month_of_one_stock(self, make_arrays, family):
        arrays = make_arrays()
        rows = np.ones(len(arrays.panel), dtype=bool)
        for t in (5, 40):
            rows[arrays.panel.offsets[t] + 1 : arrays.panel.offsets[t + 1]] = False
        panel = keep(arrays.panel, rows)
        samples = split_estimation(arrays.samples.window, panel, compute_managed_portfolios(panel))
        self.fits(family, samples)

    def test_a_batch_of_one_stock_month(self, make_arrays, family):
        """One stock, one month a batch: the norm's variance is zero, and its output its shift."""
        arrays = make_arrays()
        rows = np.ones(len(arrays.panel), dtype=bool)
        rows[arrays.panel.offsets[5] + 1 : arrays.panel.offsets[6]] = False
        panel = keep(arrays.panel, rows)
        samples = split_estimation(arrays.samples.window, panel, compute_managed_portfolios(panel))
        self.fits(family, samples, TRAINING.model_copy(update={"batch_months": 1}))

    def test_all_returns_equal(self, make_arrays, family):
        arrays = make_arrays()
        returns = np.full(len(arrays.panel), 0.01)
        self.fits(family, samples_of(arrays, excess_return=returns))
