"""Odd data for predictors that look back: an error that names it, or forecasts that are finite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from seqpricing_core.errors import InputError
from seqpricing_core.models.configs import GRU, BiLSTM, LSTMAttention, Transformer
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.study import Training, load_study
from seqpricing_core.windows import split_estimation

TRAINING = Training(max_epochs=2, patience=2)
SMALL = {"lookback": 6, "batch": 100}
CONFIGS = [
    GRU(hidden=4, **SMALL), BiLSTM(hidden=4, **SMALL), LSTMAttention(hidden=4, **SMALL),
    Transformer(hidden=8, heads=2, **SMALL),
]  # fmt: skip


def forecasts(config, arrays, panel) -> np.ndarray:
    """Of the validation year, by a model that was fitted on this panel."""
    managed = compute_managed_portfolios(panel)
    samples = split_estimation(arrays.samples.window, panel, managed)
    fitted = fit_family(config, [1], samples, TRAINING)
    test = Sample(panel.between(2003, 2003), managed, history=panel)
    return predict_test_year(fitted, test)["expected_return"].to_numpy()


class TestLookback:
    def test_longer_than_the_training_months(self, make_arrays):
        samples = make_arrays().samples
        with pytest.raises(InputError, match="look-back of 37 months is longer than the 36 months") as caught:
            fit_family(GRU(lookback=37, hidden=4), [1], samples, TRAINING)
        assert "lookback" in caught.value.remedy

    @pytest.mark.parametrize(
        ("options", "mention"),
        [
            ({"lookback": 37}, "36 months of training"),
            ({"lookback": 6, "minimum_months": 7}, "minimum_months"),
            ({"lookback": 0}, "lookback"),
            ({"dropout": 1.0}, "dropout"),
            ({"refit": "never"}, "refit"),
        ],
    )
    def test_in_the_study_file(self, tmp_path, settings, refuses, options, mention):
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(models={"gru": options})))
        refuses(lambda: load_study(file), "own.yaml", mention)

    def test_heads_that_do_not_divide_the_width(self, tmp_path, settings, refuses):
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(models={"transformer": {"hidden": 10, "heads": 4}})))
        refuses(lambda: load_study(file), "own.yaml", "multiple of heads")

    def test_no_stock_has_enough_months(self, make_arrays):
        """Each stock is there for one month only."""
        arrays = make_arrays(stocks=10)
        fleeting = replace(arrays.panel, asset_id=np.arange(len(arrays.panel)))
        samples = split_estimation(arrays.samples.window, fleeting, arrays.managed)
        with pytest.raises(InputError, match="no stock has a return and 2 month"):
            fit_family(GRU(hidden=4, minimum_months=2, **SMALL), [1], samples, TRAINING)


class TestOddPanels:
    @pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
    def test_one_stock(self, make_arrays, config):
        """Its rank is 0 in every month; there is a forecast, and a sort then says that one is not enough."""
        arrays = make_arrays(stocks=1)
        found = forecasts(config, arrays, arrays.panel)
        assert len(found) == 12
        assert np.isfinite(found).all()

    @pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
    def test_a_characteristic_missing_for_a_whole_year(self, make_arrays, config):
        """It is 0 for all, as the panel makes it: known to be nobody's, not a gap in the sequence."""
        arrays = make_arrays()
        z = arrays.panel.characteristics.copy()
        year = slice(int(arrays.panel.offsets[12]), int(arrays.panel.offsets[24]))
        z[year, 1] = 0
        found = forecasts(config, arrays, replace(arrays.panel, characteristics=z))
        assert np.isfinite(found).all()
        assert len(np.unique(found)) > 100

    @pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
    def test_a_year_without_data_for_half_of_the_stocks(self, make_arrays, config):
        """They come back with windows that begin at their return."""
        arrays = make_arrays()
        months = arrays.panel.month_of_row.astype("datetime64[Y]").astype(int) + 1970
        gone = (months == 2002) & (arrays.panel.asset_id % 2 == 0)
        found = forecasts(config, arrays, arrays.panel.of_rows(~gone))
        assert np.isfinite(found).all()

    def test_a_year_without_data_for_anybody(self, make_arrays):
        """A window with a hole is no window: the error names the first month."""
        panel = make_arrays().panel
        holed = Panel.concatenate([panel.between(2000, 2000), panel.between(2002, 2003)])
        arrays = make_arrays()
        with pytest.raises(InputError, match="wrong months") as caught:
            split_estimation(arrays.samples.window, holed, arrays.managed)
        assert "2001-01" in caught.value.where

    def test_a_training_year_without_any_return(self, make_arrays):
        """Known stocks, nothing to learn: the windows of that year do not train, the others do."""
        arrays = make_arrays()
        returns = arrays.panel.excess_return.copy()
        returns[: int(arrays.panel.offsets[12])] = np.nan
        panel = replace(arrays.panel, excess_return=returns)
        samples = split_estimation(arrays.samples.window, panel, arrays.managed)
        fitted = fit_family(CONFIGS[0], [1], samples, TRAINING)
        assert np.isfinite(fitted.models[0][0].record["validation_loss"]).all()


def test_a_model_survives_its_file(make_arrays, tmp_path):
    """Every network, bit for bit."""
    arrays = make_arrays()
    test = Sample(arrays.panel.between(2003, 2003), arrays.managed, history=arrays.panel)
    for config in CONFIGS:
        fitted = fit_family(config, [1], arrays.samples, TRAINING)
        file = tmp_path / f"{config.family}.safetensors"
        file.write_bytes(fitted.to_bytes())
        again = FittedFamily.from_files([file])
        assert again.config == config
        assert predict_test_year(again, test).equals(predict_test_year(fitted, test))


def test_a_loss_that_is_not_finite(make_arrays):
    config = GRU(hidden=4, learning_rate=1e30, **SMALL)
    with pytest.raises(FloatingPointError, match="gru is not finite after its first epoch"):
        fit_family(config, [1], make_arrays().samples, TRAINING)
