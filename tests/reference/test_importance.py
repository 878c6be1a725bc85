"""Importance against a plain loop, closed forms of a linear market, and the truth about who matters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.explain.importance import compute_importance_sums, pool_importance
from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.factor_model import FactorHistory, FittedFactorModel, FittedForecaster
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.models.ipca import InstrumentedModel, fit_ipca
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.report.explanations import importance_figure
from seqpricing_core.windows import Window, split_estimation

WINDOW = Window((2000, 2002), (2003, 2003), 2004)
EMPTY = np.array([], dtype="datetime64[M]")


def family_of(*members, factors: int = 2) -> FittedFamily:
    return FittedFamily(IPCA(), WINDOW, {factors: members})


def with_history(model) -> FittedFactorModel:
    return FittedFactorModel(model, FactorHistory(EMPTY, np.empty((0, 2))), {})


def panel_of(z: list[np.ndarray], r: list[np.ndarray], first: str = "2004-01") -> Panel:
    counts = [len(month) for month in z]
    return Panel(
        characteristic_names=tuple(f"c{j}" for j in range(z[0].shape[1])),
        months=np.datetime64(first, "M") + np.arange(len(z)),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        asset_id=np.concatenate([np.arange(count) for count in counts]),
        characteristics=np.concatenate(z).astype(np.float32),
        excess_return=np.concatenate(r),
        market_equity=np.ones(sum(counts)),
    )


def linear_market(
    gamma: np.ndarray, *, months: int = 12, stocks: int = 40, noise: float = 0.0, seed: int = 0,
    first: str = "2004-01",
) -> Panel:  # fmt: skip
    """Returns Z gamma f + noise, with ranks that are independent of each other."""
    random = np.random.default_rng(seed)
    width, factors = gamma.shape
    ranks = 2 * np.arange(1, stocks + 1) / (stocks + 1) - 1
    z = [np.stack([random.permutation(ranks) for _ in range(width)], axis=1) for _ in range(months)]
    z = [month.astype(np.float32) for month in z]
    r = [
        month.astype(float) @ gamma @ random.normal(0.01, 0.04, factors) + noise * random.normal(size=stocks)
        for month in z
    ]
    return panel_of(z, r, first)


def sample_of(panel: Panel, *, constant: bool = False) -> Sample:
    return Sample(panel, compute_managed_portfolios(panel, constant=constant))


@dataclass(frozen=True)
class Curved:
    """Not linear in z or f, so that no algebra of loadings could stand in for the model; counts its calls."""

    weights: np.ndarray
    """(P, K)"""
    calls: list[int] = field(default_factory=list)

    def returns_given(self, known, factors):
        self.calls.append(len(known.characteristics))
        return np.tanh(known.characteristics.astype(float) @ self.weights) @ np.sinh(factors)

    def latent_factors(self, known, outcome):
        there = ~np.isnan(outcome.excess_return)
        return known.characteristics[there].T.astype(float) @ outcome.excess_return[there] @ self.weights / 10

    def state(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Linear:
    """A forecaster."""

    slopes: np.ndarray

    def expected_returns(self, known):
        return known.characteristics.astype(float) @ self.slopes

    def state(self) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def curved(small) -> FittedFamily:
    """An ensemble of two."""
    random = np.random.default_rng(0)
    width = small.panels[2004].characteristics.shape[1]
    return family_of(*(with_history(Curved(random.normal(size=(width, 2)) / 3)) for _ in range(2)))


class TestSlowLoop:
    """One characteristic at a time, the whole test year again for each, stock by stock."""

    @pytest.mark.parametrize("method", ["zero", "permutation"])
    def test_an_ensemble(self, small, curved, method):
        test = small.test_sample(2004)
        sums = compute_importance_sums(curved, test, methods=(method,), seed=7, chunk_bytes=20_000)
        assert sums["measure"].unique().to_list() == ["total_r2"]
        names = test.panel.characteristic_names
        assert sums["characteristic"].to_list() == list(names)
        for column in (0, 3, 17, len(names) - 1):
            error = baseline = squares = 0.0
            for t in range(12):
                known, outcome = test.known(t), test.outcome(t)
                there = np.flatnonzero(~np.isnan(outcome.excess_return))
                z = known.characteristics[there].copy()
                if method == "zero":
                    z[:, column] = 0
                else:
                    month_number = 2004 * 12 + t
                    order = np.random.default_rng([7, month_number, column]).permutation(len(there))
                    z[:, column] = z[order, column]
                models = [member.model for member in curved.models[2]]
                factors = [model.latent_factors(known, outcome) for model in models]
                for place, row in enumerate(there):
                    actual = outcome.excess_return[row]
                    changed = whole = 0.0
                    for model, f in zip(models, factors, strict=True):
                        changed += float(np.tanh(z[place].astype(float) @ model.weights) @ np.sinh(f)) / 2
                        original = known.characteristics[row].astype(float)
                        whole += float(np.tanh(original @ model.weights) @ np.sinh(f)) / 2
                    error += (actual - changed) ** 2
                    baseline += (actual - whole) ** 2
                    squares += actual**2
            row = sums.row(column, named=True)
            assert row["squared_error"] == pytest.approx(error, rel=1e-11)
            assert row["baseline_squared_error"] == pytest.approx(baseline, rel=1e-11)
            assert row["sum_of_squares"] == pytest.approx(squares, rel=1e-12)
            assert error != pytest.approx(baseline, rel=1e-6)

    def test_the_baseline_is_the_total_r2_of_the_predictions(self, small):
        """Of IPCA, as `predict_test_year` and `compute_r_squared` have it."""
        fitted = fit_family(IPCA(), (1, 2), small.samples(2004), small.study.training)
        test = small.test_sample(2004)
        pooled = pool_importance(compute_importance_sums(fitted, test))
        expected = compute_r_squared(predict_test_year(fitted, test), ["number_of_factors"])
        for k, total, _ in expected.iter_rows():
            found = pooled.filter(number_of_factors=k)["r2"].to_numpy()
            np.testing.assert_allclose(found, total, rtol=1e-12)

    def test_chunks_change_nothing_and_bound_the_calls(self, small, curved):
        test = small.test_sample(2004)
        width = test.panel.characteristics.shape[1]
        one_at_a_time = compute_importance_sums(curved, test, seed=1, chunk_bytes=1)
        for member in curved.models[2]:
            member.model.calls.clear()
        together = compute_importance_sums(curved, test, seed=1)
        calls = curved.models[2][0].model.calls
        # Per month and method: once as it is, once for all characteristics.
        assert len(calls) == 12 * 2 * 2
        stocks = [int((~np.isnan(test.outcome(t).excess_return)).sum()) for t in range(12)]
        assert max(calls) <= width * max(stocks)
        for column in ("squared_error", "baseline_squared_error", "sum_of_squares"):
            np.testing.assert_allclose(together[column], one_at_a_time[column], rtol=1e-12)

    def test_permutations_depend_on_the_seed_alone(self, small, curved):
        test = small.test_sample(2004)
        both = compute_importance_sums(curved, test, seed=1).filter(method="permutation")
        alone = compute_importance_sums(curved, test, seed=1, methods=("permutation",))
        other = compute_importance_sums(curved, test, seed=2, methods=("permutation",))
        assert both.equals(alone)
        assert (both["squared_error"] != other["squared_error"]).sum() > 30


class TestClosedForms:
    """A linear model that is the truth: without characteristic j it misses z_j gamma_j' f and no more."""

    GAMMA = np.array([[1.0, 0.2], [0.5, -0.5], [0.0, 0.0], [-0.1, 0.3]])

    def test_zero(self):
        panel = linear_market(self.GAMMA)
        model = InstrumentedModel(self.GAMMA, constant=False)
        test = sample_of(panel)
        sums = compute_importance_sums(family_of(with_history(model)), test, methods=("zero",))
        for j, name in enumerate(panel.characteristic_names):
            missed = 0.0
            for t in range(12):
                known = test.known(t)
                f = model.latent_factors(known, test.outcome(t))
                missed += float(
                    ((known.characteristics[:, j].astype(float) * (self.GAMMA[j] @ f)) ** 2).sum()
                )
            found = sums.filter(characteristic=name)["squared_error"].item()
            assert found == pytest.approx(missed, rel=1e-8, abs=1e-20)

    def test_permutation_costs_twice_as_much_on_average(self):
        """E sum (z_i - z_pi(i))^2 = 2 sum (z - mean z)^2: three per cent after 40,000 stock-months."""
        panel = linear_market(self.GAMMA, months=12, stocks=3400)
        fitted = family_of(with_history(InstrumentedModel(self.GAMMA, constant=False)))
        sums = compute_importance_sums(fitted, sample_of(panel))
        errors = sums.pivot("method", index="characteristic", values="squared_error")
        ratio = errors.filter(pl.col("characteristic") != "c2")["permutation"] / errors.filter(
            pl.col("characteristic") != "c2"
        )["zero"]  # fmt: skip
        np.testing.assert_allclose(ratio, 2.0, rtol=0.03)

    def test_a_forecaster_is_judged_by_its_forecasts(self):
        """Predictive R2 of a linear forecast; zeroing j adds 2 e z_j b_j + (z_j b_j)^2."""
        slopes = np.array([0.02, 0.0, -0.01, 0.005])
        panel = linear_market(self.GAMMA, noise=0.05)
        fitted = FittedFamily(IPCA(), WINDOW, {0: (FittedForecaster(Linear(slopes), EMPTY, {}),)})
        pooled = pool_importance(compute_importance_sums(fitted, sample_of(panel), methods=("zero",)))
        assert pooled["measure"].unique().to_list() == ["predictive_r2"]
        assert pooled["number_of_factors"].unique().to_list() == [0]
        z, r = panel.characteristics.astype(float), panel.excess_return
        error = r - z @ slopes
        moved = z * slopes
        expected = (2 * (error[:, None] * moved).sum(axis=0) + (moved**2).sum(axis=0)) / (r**2).sum()
        np.testing.assert_allclose(pooled["drop"], expected, rtol=1e-9, atol=1e-15)
        assert pooled["drop"][1] == 0.0


class TestNothingTakenAway:
    @pytest.mark.parametrize("method", ["zero", "permutation"])
    def test_missing_for_everybody_is_exactly_zero(self, small, curved, method):
        """Such a column is 0 after ranking; products of another shape must not turn it into rounding."""
        test = small.test_sample(2004)
        z = test.panel.characteristics.copy()
        z[:, 5] = 0
        blind = Sample(replace(test.panel, characteristics=z), test.managed)
        pooled = pool_importance(compute_importance_sums(curved, blind, methods=(method,)))
        assert pooled["drop"][5] == 0.0
        assert pooled["importance"][5] == 0.0
        assert (pooled["drop"] != 0).sum() == len(pooled) - 1

    def test_in_some_months_only(self, small, curved):
        """Those months contribute nothing, the others what they always did."""
        test = small.test_sample(2004)
        half = int(test.panel.offsets[6])
        z = test.panel.characteristics.copy()
        z[:half, 5] = 0
        blind = Sample(replace(test.panel, characteristics=z), test.managed)
        row = compute_importance_sums(curved, blind, methods=("zero",)).row(5, named=True)
        late = Panel(
            test.panel.characteristic_names, test.panel.months[6:], test.panel.offsets[6:] - half,
            *(a[half:] for a in (test.panel.asset_id, test.panel.characteristics,
                                 test.panel.excess_return, test.panel.market_equity)),
        )  # fmt: skip
        of_late = compute_importance_sums(curved, Sample(late, test.managed), methods=("zero",)).row(
            5, named=True
        )
        assert row["squared_error"] - row["baseline_squared_error"] == pytest.approx(
            of_late["squared_error"] - of_late["baseline_squared_error"], rel=1e-9
        )


class TestPooling:
    def test_years_pool_as_if_they_were_one(self, small, curved):
        """Two calendar years in one sample, against the two one by one."""
        both = Sample(small.panel(2004, 2005), small.managed_portfolios(2003, 2005))
        together = compute_importance_sums(curved, both)
        apart = pl.concat(compute_importance_sums(curved, small.test_sample(year)) for year in (2004, 2005))
        assert together["year"].unique().sort().to_list() == [2004, 2005]
        keys = ["method", "characteristic", "year"]
        one, other = together.sort(keys), apart.sort(keys)
        for column in ("squared_error", "baseline_squared_error", "sum_of_squares"):
            np.testing.assert_allclose(one[column], other[column], rtol=1e-12)

    def test_by_hand(self):
        """Two years, three characteristics, one of which does harm."""
        sums = pl.DataFrame(
            {
                "characteristic": ["a", "b", "c"] * 2,
                "year": [2004] * 3 + [2005] * 3,
                "squared_error": [5.0, 4.0, 3.0, 8.0, 6.0, 7.0],
                "baseline_squared_error": [4.0] * 3 + [6.0] * 3,
                "sum_of_squares": [8.0] * 3 + [12.0] * 3,
            }
        ).with_columns(
            family=pl.lit("ipca"),
            number_of_factors=pl.lit(1),
            measure=pl.lit("total_r2"),
            method=pl.lit("zero"),
        )
        pooled = pool_importance(sums)
        assert pooled["characteristic"].to_list() == ["a", "b", "c"]
        np.testing.assert_allclose(pooled["r2"], 0.5)
        np.testing.assert_allclose(pooled["drop"], [0.15, 0.0, 0.0])
        np.testing.assert_allclose(pooled["importance"], [1.0, 0.0, 0.0])
        of_first = pool_importance(sums.filter(year=2004))
        np.testing.assert_allclose(of_first["drop"], [1 / 8, 0.0, -1 / 8])
        np.testing.assert_allclose(of_first["importance"], [1.0, 0.0, 0.0])

    def test_no_characteristic_helps(self):
        rows = {"squared_error": [1.0, 2.0], "baseline_squared_error": [2.0] * 2, "sum_of_squares": [4.0] * 2}
        sums = pl.DataFrame({"characteristic": ["a", "b"], "year": [2004] * 2, **rows}).with_columns(
            family=pl.lit("ipca"),
            number_of_factors=pl.lit(1),
            measure=pl.lit("total_r2"),
            method=pl.lit("zero"),
        )
        assert pool_importance(sums)["importance"].to_list() == [0.0, 0.0]

    def test_shares_sum_to_one(self, small, curved):
        pooled = pool_importance(compute_importance_sums(curved, small.test_sample(2004)))
        sums = pooled.group_by("method").agg(pl.col("importance").sum())["importance"]
        np.testing.assert_allclose(sums, 1.0)


@pytest.mark.parametrize("method", ["zero", "permutation"])
def test_who_matters_in_truth_matters_in_the_fit(method):
    """Eight characteristics, three of which drive returns, with noise: IPCA, fitted, finds them in order."""
    gamma = np.zeros((8, 1))
    gamma[[1, 4, 6], 0] = 2.0, 1.2, 0.7
    panel = linear_market(gamma, months=60, stocks=200, noise=0.04, seed=3, first="2000-01")
    managed = compute_managed_portfolios(panel, constant=False)
    estimation = split_estimation(WINDOW, panel.between(2000, 2003), managed.between(2000, 2003))
    fitted = family_of(fit_ipca(IPCA(), 1, estimation), factors=1)
    test = Sample(panel.between(2004, 2004), managed.between(2004, 2004))
    pooled = pool_importance(compute_importance_sums(fitted, test, methods=(method,)))
    ranked = pooled.sort("importance", descending=True)
    assert ranked["characteristic"].head(3).to_list() == ["c1", "c4", "c6"]
    assert ranked["importance"].head(3).sum() > 0.98
    # Shares are as gamma^2, since z of all have the same variance.
    np.testing.assert_allclose(ranked["importance"].head(3), np.array([4.0, 1.44, 0.49]) / 5.93, atol=0.03)


def test_the_figure_shows_the_largest_of_every_family_at_this_k(small, curved):
    """Bars read back from the axes, against the table."""
    sums = compute_importance_sums(curved, small.test_sample(2004))
    renamed = [sums.with_columns(family=pl.lit(family)) for family in ("seqlat", "ca2")]
    others = sums.with_columns(number_of_factors=pl.lit(5, pl.Int32))
    pooled = pool_importance(pl.concat([sums, *renamed, others]))
    figure = importance_figure(pooled, 2, "permutation", most=4)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["IPCA", "CA2", "SeqLAT"]
    top = pooled.filter(family="ipca", number_of_factors=2, method="permutation").top_k(4, by="importance")
    for axes in panels:
        assert [bar.get_width() for bar in axes.patches] == pytest.approx((100 * top["importance"]).to_list())
        assert [label.get_text() for label in axes.get_yticklabels()] == top["characteristic"].to_list()
        assert axes.yaxis_inverted()
