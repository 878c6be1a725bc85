"""What must not matter: the order of stocks, rotations, padding, units, who else is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.factor_model import expected_returns, factor_history, fitted_returns
from seqpricing_core.models.family import fit_family
from seqpricing_core.models.ipca import InstrumentedModel, fit_ipca
from seqpricing_core.nn.cells import CELLS
from seqpricing_core.nn.factor_networks import AttentionFactorNetwork, Sequences
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Sample
from seqpricing_core.portfolios import assign_quantiles, compute_portfolio_returns
from seqpricing_core.study import Costs, Portfolios
from seqpricing_core.tables import STATEMENT_ITEMS
from seqpricing_core.windows import split_estimation

FAMILIES = ("ipca", "ca0", "ca1", "ca2", "ca3", "seqrat", "seqgat", "seqlat")
OF_THE_STUDY = ("ipca", "ca2", "seqlat")
SEQUENCES = ("seqrat", "seqgat", "seqlat")


class TestOrderOfStocks:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_loadings_follow_their_stocks(self, small, family):
        """Another order of rows: every stock keeps its loadings, and the factors stay."""
        model, test = small.fitted[family].models[2][0].model, small.test_sample(2004)
        known, outcome = test.known(4), test.outcome(4)
        order = np.random.default_rng(0).permutation(len(known.asset_id))
        other = replace(known, characteristics=known.characteristics[order])
        tolerance = 1e-14 if family == "ipca" else 1e-6
        loadings = model.factor_loadings(known)
        assert np.ptp(loadings, axis=0).min() > 1e-3  # they do differ among stocks
        np.testing.assert_allclose(model.factor_loadings(other), loadings[order], atol=tolerance)
        happened = replace(outcome, excess_return=outcome.excess_return[order])
        np.testing.assert_allclose(
            model.latent_factors(other, happened), model.latent_factors(known, outcome), atol=tolerance
        )

    def test_managed_portfolios(self, small):
        panel, random = small.panels[2004], np.random.default_rng(0)
        order = np.concatenate(
            [random.permutation(np.arange(panel.offsets[t], panel.offsets[t + 1])) for t in range(12)]
        )
        other = replace(
            panel, asset_id=panel.asset_id[order], characteristics=panel.characteristics[order],
            excess_return=panel.excess_return[order], market_equity=panel.market_equity[order],
        )  # fmt: skip
        x = compute_managed_portfolios(other).x
        np.testing.assert_allclose(x, small.managed[2004].x, atol=1e-11)
        assert not np.array_equal(other.asset_id, panel.asset_id)

    @pytest.mark.parametrize("family", OF_THE_STUDY)
    def test_names_do_not_matter(self, small, results, family):
        """Other asset ids, so another order everywhere: deciles and portfolio returns are the same."""
        mine = results.predictions.filter(pl.col("family") == family)
        # Small networks give some stocks the same loadings, and ties go by name: break them otherwise.
        mine = mine.with_columns(pl.col("expected_return") + 1e-6 * pl.col("excess_return").fill_null(0.0))
        ids = mine["asset_id"].unique().sort()
        names = pl.Series(np.random.default_rng(1).permutation(len(ids)) + 7)
        renamed = mine.with_columns(pl.col("asset_id").replace_strict(ids, names))
        back = assign_quantiles(renamed, 5).with_columns(pl.col("asset_id").replace_strict(names, ids))
        key = ["number_of_factors", "month", "asset_id"]
        assert back.sort(key).equals(assign_quantiles(mine, 5).sort(key))
        one, other = (compute_portfolio_returns(p, Portfolios(quantiles=5), Costs()) for p in (mine, renamed))
        for column in ("return", "turnover", "net_return"):
            np.testing.assert_allclose(one[column], other[column], atol=1e-13)

    def test_names_do_not_matter_to_characteristics_and_ranks(self, small):
        """Renamed in the raw tables."""
        ids = small.tables["stock_months"]["asset_id"].unique().sort()
        names = pl.Series(np.random.default_rng(2).permutation(len(ids)) + 7)

        def renamed(table):
            return table.with_columns(pl.col("asset_id").replace_strict(ids, names))

        again = compute_characteristics(
            renamed(small.history(small.stock_months, 2003)),
            renamed(small.history(small.statements, 2003)),
            2003,
            small.study.acronyms,
        )
        expected = renamed(small.characteristics[2003]).sort("month", "asset_id")
        assert again.equals(expected)

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.integers(-5, 5), min_size=3, max_size=40),
        st.integers(2, 3),
        st.randoms(use_true_random=False),
    )
    def test_sorts_of_any_forecasts(self, forecasts, quantiles, random):
        """Whatever the ties and the order of rows: sizes differ by one at most, nobody is out of order."""
        rows = pl.DataFrame({
            "family": "f", "number_of_factors": 1, "month": pl.Series([1] * len(forecasts)),
            "asset_id": range(len(forecasts)), "expected_return": [float(f) for f in forecasts],
        })  # fmt: skip
        order = list(range(len(forecasts)))
        random.shuffle(order)
        assigned = assign_quantiles(rows[order], quantiles).sort("asset_id")
        assert assigned.equals(assign_quantiles(rows, quantiles).sort("asset_id"))
        sizes = assigned["quantile"].value_counts()["count"]
        assert len(sizes) == quantiles
        assert sizes.max() - sizes.min() <= 1
        pairs = sorted(zip(forecasts, range(len(forecasts)), assigned["quantile"], strict=True))
        placed = [quantile for _, _, quantile in pairs]
        assert placed == sorted(placed)


class TestWhoElseIsThere:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_up_to_rounding(self, small, family):
        """Without the first stocks, the loadings of the others are the same."""
        model, known = small.fitted[family].models[2][0].model, small.test_sample(2004).known(4)
        loadings = model.factor_loadings(known)
        for gone in (1, 7, 30):
            fewer = replace(known, characteristics=known.characteristics[gone:])
            tolerance = 1e-15 if family == "ipca" else 1e-6
            np.testing.assert_allclose(model.factor_loadings(fewer), loadings[gone:], atol=tolerance)


class TestWhoLeft:
    """A stock without a return is forecast and takes no part in estimation."""

    @pytest.fixture(scope="class")
    def samples(self, small):
        """The window of 2004, as it is and with a fifth of the stock-months robbed of their return."""
        panel = small.panel(2000, 2003)
        left = np.random.default_rng(3).random(len(panel)) < 0.2
        fewer = replace(panel, excess_return=np.where(left, np.nan, panel.excess_return))
        window = small.samples(2004).window
        managed = compute_managed_portfolios(fewer)
        return (
            split_estimation(window, fewer, managed),
            split_estimation(window, fewer.with_returns(), managed),
        )

    def test_managed_portfolios(self, small, samples):
        """Those of the panel that never heard of them, to the bit; and they do matter when they are there."""
        with_them, without = (sample.validation.panel for sample in samples)
        assert len(with_them) > len(without)
        one, other = (compute_managed_portfolios(panel) for panel in (with_them, without))
        assert one.to_bytes() == other.to_bytes()
        assert np.abs(one.x - small.managed[2003].x).max() > 1e-3

    @pytest.mark.parametrize("place", [0, 1, 2], ids=OF_THE_STUDY)
    def test_estimation(self, small, samples, place):
        """Fits with and without their rows are the same, to the bit."""
        config, options = small.study.models[place], small.study.training
        one, other = (fit_family(config, [2], sample, options).models[2][0] for sample in samples)
        for name, array in one.model.state().items():
            np.testing.assert_array_equal(array, other.model.state()[name], err_msg=name)
        assert np.isfinite(one.history.factors).all()
        np.testing.assert_allclose(one.history.factors, other.history.factors, rtol=1e-9, atol=1e-12)

    def test_scores(self, results):
        """R2 of the rows with a return; the others are predicted, and change no score."""
        there = results.predictions.filter(pl.col("excess_return").is_not_null())
        assert len(there) < len(results.predictions)
        model = ["family", "number_of_factors"]
        assert compute_r_squared(results.predictions, model).equals(compute_r_squared(there, model))


class TestPadding:
    @staticmethod
    def network(family, seed):
        torch.manual_seed(seed)
        return AttentionFactorNetwork(CELLS[family], 2, 3, 4, 6, 2)

    @pytest.mark.parametrize("family", SEQUENCES)
    @settings(max_examples=15, deadline=None)
    @given(
        missing=st.integers(1, 5),
        junk=st.sampled_from([1.0, -1e30, float("nan"), float("inf")]),
        seed=st.integers(0, 10),
    )
    def test_whatever_stands_in_unobserved_months_changes_nothing(self, family, missing, junk, seed):
        """Bit for bit, NaN and infinity included: padded places point at another month, full of junk."""
        network = self.network(family, seed)
        x = torch.randn(7, 3)
        positions = torch.arange(1, 7).repeat(2, 1)
        observed = torch.ones(2, 6, dtype=torch.bool)
        observed[0, :missing] = False
        outputs = []
        for value in (0.0, junk):
            x[0] = value
            outputs.append(network(Sequences(x, positions.where(observed, 0), observed)))
        assert torch.equal(*outputs)
        assert torch.isfinite(outputs[1]).all()

    @pytest.mark.parametrize("family", SEQUENCES)
    def test_gradients_of_padded_sequences(self, family):
        """Another month in the padded places: the same gradients, bit for bit."""
        network, gradients = self.network(family, 1), []
        x = torch.randn(9, 3)
        observed = torch.ones(2, 6, dtype=torch.bool)
        observed[0, :4] = False
        positions = torch.arange(1, 7).repeat(2, 1)
        for other in (0, 8):
            network.zero_grad()
            network(Sequences(x, positions.where(observed, other), observed)).square().sum().backward()
            gradients.append([p.grad.clone() for p in network.parameters()])
        # The one product with all of x adds its zeros at another place: equal, not identical.
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
            assert one.abs().max() > 0

    @pytest.mark.parametrize("family", SEQUENCES)
    def test_a_padded_sequence_is_not_a_sequence_of_zeros(self, family):
        """Inert is more than zero: an observed zero moves the encoder, a padded one does not."""
        network, x = self.network(family, 0), torch.randn(6, 3)
        x[:3] = 0
        positions, observed = torch.arange(6)[None], torch.ones(1, 6, dtype=torch.bool)
        with torch.no_grad():
            zeros = network(Sequences(x, positions, observed))
            padded = network(Sequences(x, positions, torch.arange(6)[None] >= 3))
            assert not torch.allclose(padded, zeros, atol=1e-4)


class TestRotations:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000))
    def test_returns_do_not_depend_on_the_rotation(self, make_arrays, seed):
        """Gamma R for any invertible R: fitted and expected returns are the same, factors are not."""
        arrays = make_arrays(seed=1, balanced=False)
        fitted = fit_ipca(IPCA(), 3, arrays.samples)
        rotation = np.eye(3) + 0.4 * np.random.default_rng(seed).normal(size=(3, 3))
        if np.linalg.cond(rotation) > 100:
            return
        rotated = InstrumentedModel(fitted.model.gamma @ rotation, constant=True)
        samples = arrays.samples
        history = factor_history(rotated, samples.train, samples.validation)
        np.testing.assert_allclose(history.factors @ rotation.T, fitted.history.factors, atol=1e-9)
        sample, month = samples.validation, np.datetime64("2004-01")
        for t in (0, 11):
            known, outcome = sample.known(t), sample.outcome(t)
            np.testing.assert_allclose(
                fitted_returns(rotated, known, rotated.latent_factors(known, outcome)),
                fitted_returns(fitted.model, known, fitted.model.latent_factors(known, outcome)),
                atol=1e-10,
            )
            ahead = replace(known, month=month)
            np.testing.assert_allclose(
                expected_returns(rotated, ahead, history),
                expected_returns(fitted.model, ahead, fitted.history),
                atol=1e-10,
            )


class TestUnits:
    @pytest.mark.parametrize("scale", [2.0, 0.25, -1.0])
    def test_managed_portfolios_scale_with_returns(self, small, scale):
        """Twice the returns are twice the x, to the bit: powers of two are exact."""
        panel = small.panels[2004]
        scaled = compute_managed_portfolios(replace(panel, excess_return=panel.excess_return * scale))
        np.testing.assert_array_equal(scaled.x, small.managed[2004].x * scale)
        np.testing.assert_array_equal(scaled.cross, small.managed[2004].cross * scale)
        np.testing.assert_array_equal(scaled.gram, small.managed[2004].gram)

    def test_managed_portfolios_are_linear_in_returns(self, make_arrays):
        """X of a sum is the sum of x."""
        arrays = make_arrays(seed=5)
        panel, random = arrays.panel, np.random.default_rng(0)
        other = random.normal(size=len(panel))
        x = [
            compute_managed_portfolios(replace(panel, excess_return=r)).x
            for r in (panel.excess_return, other, panel.excess_return + 3 * other)
        ]
        np.testing.assert_allclose(x[2], x[0] + 3 * x[1], atol=1e-12)

    def test_ipca_factors_scale_with_returns(self, make_arrays):
        """Twice the returns: the same Gamma, twice the factors and expected returns."""
        arrays = make_arrays(seed=5)
        panel = replace(arrays.panel, excess_return=arrays.panel.excess_return * 2)
        samples = split_estimation(arrays.samples.window, panel, compute_managed_portfolios(panel))
        config = IPCA(tolerance=1e-10, max_iterations=5000)
        one, two = fit_ipca(config, 2, arrays.samples), fit_ipca(config, 2, samples)
        np.testing.assert_allclose(two.model.gamma, one.model.gamma, atol=1e-9)
        np.testing.assert_allclose(two.history.factors, 2 * one.history.factors, atol=1e-9)

    def test_the_currency_does_not_matter(self, small):
        """All money times 1,024, shares as they are: every characteristic keeps its ranks."""
        money = ("market_equity", "dollar_volume")
        items = [item for item in STATEMENT_ITEMS if item != "shares"]
        known = pl.concat([
            compute_characteristics(
                small.history(small.stock_months, year).with_columns(pl.col(c) * 1024 for c in money),
                small.history(small.statements, year).with_columns(pl.col(c) * 1024 for c in items),
                year, small.study.acronyms,
            )
            for year in (2003, 2004)
        ])  # fmt: skip
        factors = small.tables["factors"].filter(pl.col("month").dt.year() == 2004)
        panel = build_panel(known, small.stock_months[2004], factors, 2004, small.study)
        for j, name in enumerate(small.study.acronyms):
            np.testing.assert_allclose(
                panel.characteristics[:, j], small.panels[2004].characteristics[:, j], err_msg=name
            )
        np.testing.assert_allclose(panel.market_equity, small.panels[2004].market_equity * 1024)

    def test_ranks_are_inside_and_centred(self, small):
        """In (-1, 1), and zero on average in every month, whatever the ties and medians."""
        for panel in small.panels.values():
            assert np.abs(panel.characteristics).max() < 1
            for t in range(12):
                means = panel.characteristics[panel.rows(t)].astype(np.float64).mean(axis=0)
                assert np.abs(means).max() < 1e-7

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0.1, 10), st.floats(-1, 1))
    def test_deciles_need_an_order_only(self, results, slope, shift):
        """Any increasing line through the forecasts gives the same portfolios."""
        mine = results.predictions.filter(
            pl.col("family") == "ipca", pl.col("number_of_factors") == 1, pl.col("month").dt.month() == 3
        )
        moved = mine.with_columns((pl.col("expected_return") + shift) * slope)
        key = ["month", "asset_id"]
        one, other = (assign_quantiles(p, 5).sort(key)["quantile"] for p in (mine, moved))
        assert (one == other).mean() > 0.99  # rounding may turn a near tie


@pytest.mark.parametrize("family", SEQUENCES)
def test_past_managed_portfolios_before_the_look_back_do_not_matter(small, family):
    """With a look-back of six a sequence network reads six months: the year before last changes nothing."""
    model = small.fitted[family].models[2][0].model
    short, long = small.test_sample(2004), Sample(small.panels[2004], small.managed_portfolios(2001, 2004))
    for t in (0, 11):
        np.testing.assert_array_equal(
            model.latent_factors(short.known(t), short.outcome(t)),
            model.latent_factors(long.known(t), long.outcome(t)),
        )
