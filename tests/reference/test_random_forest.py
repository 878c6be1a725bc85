"""Forests against scikit-learn, and against walking down every tree by hand."""

from __future__ import annotations

import dataclasses
import json

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from seqpricing_core.models.configs import ForestGrid, RandomForest, RandomForestForecast
from seqpricing_core.models.random_forest import Forest, ForestRows, evenly_drawn, fit_forests, with_factors
from seqpricing_core.study import Training

SMALL = ForestGrid(trees=20, depth=(1, 4), features=(2, 20), minimum_leaf=5)


def draw(rows, seed) -> ForestRows:
    """Returns .05 + .1 step(z0) + .1 z1 z2 + noise; eight columns that vary and one that does not."""
    random = np.random.default_rng(seed)
    z = np.asfortranarray(random.uniform(-1, 1, size=(rows, 9)).astype(np.float32))
    z[:, 8] = 0.5
    noise = 0.02 * random.normal(size=rows)
    return ForestRows(z, 0.05 + 0.1 * (z[:, 0] > 0) + 0.1 * z[:, 1].astype(float) * z[:, 2] + noise)


@pytest.fixture(scope="module")
def rows():
    return draw(2000, 1), draw(1000, 2)


def walk(node, row):
    """Down one tree of the dump, as Breiman would."""
    while "leaf_value" not in node:
        node = node["left_child" if row[node["split_feature"]] <= node["threshold"] else "right_child"]
    return node["leaf_value"]


def test_prediction_is_the_mean_of_the_trees(rows):
    train, validation = rows
    ((forest, _),) = fit_forests(SMALL, train, validation, Training())
    trees = lightgbm.Booster(model_str=forest.text).dump_model()["tree_info"]
    assert len(trees) == 20
    for row in validation.columns[:50]:
        by_hand = train.excess_return.mean() + np.mean(
            [walk(tree["tree_structure"], row.astype(float)) for tree in trees]
        )
        np.testing.assert_allclose(forest.predict(row[None])[0], by_hand, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 6])
@pytest.mark.parametrize("features", [5, 8])
def test_same_forest_as_scikit_learn(rows, depth, features):
    """Draws differ, so trees do; 150 of them predict nearly the same, and equally well.

    First scikit-learn's trees on as many rows drawn without replacement, then its own forest, whose
    bootstrap is a little noisier.
    """
    train, validation = (part.first(8) for part in rows)
    grid = ForestGrid(trees=150, depth=(depth,), features=(features,), minimum_leaf=10)
    ((forest, _),) = fit_forests(grid, train, validation, Training())
    shape = {"max_depth": depth, "max_features": features, "min_samples_leaf": 10}
    subsampled = BaggingRegressor(
        DecisionTreeRegressor(**shape), 150, max_samples=0.632, bootstrap=False, random_state=1
    )
    bootstrapped = RandomForestRegressor(150, random_state=1, **shape)
    ours = forest.predict(validation.columns)
    for package, tolerance in ((subsampled, 0.06), (bootstrapped, 0.2)):
        theirs = package.fit(train.columns, train.excess_return).predict(validation.columns)
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99
        assert abs(ours.mean() - theirs.mean()) < 0.002
        assert np.mean((ours - theirs) ** 2) < 0.03 * np.var(theirs)
        loss = [np.mean((validation.excess_return - p) ** 2) for p in (ours, theirs)]
        assert loss[0] == pytest.approx(loss[1], rel=tolerance)


def test_a_tree_that_finds_no_split_gives_the_mean(rows):
    """LightGBM's own would give zero."""
    train, validation = rows
    nothing = ForestRows(np.zeros_like(train.columns), train.excess_return)
    ((forest, _),) = fit_forests(SMALL, nothing, validation, Training())
    mean = train.excess_return.mean()
    np.testing.assert_allclose(forest.predict(validation.columns), mean, atol=0.004)
    assert mean > 0.09
    few = ForestRows(train.columns[:7], train.excess_return[:7])
    ((forest, _),) = fit_forests(SMALL, few, validation, Training())
    np.testing.assert_allclose(forest.predict(validation.columns), few.excess_return.mean(), atol=0.02)


class TestChoice:
    def test_lowest_validation_loss_wins(self, rows):
        """Losses in squared percent, by hand from the restored forest of the winner."""
        train, validation = rows
        ((forest, record),) = fit_forests(SMALL, train, validation, Training())
        losses = {(c["depth"], c["features"]): c["validation_loss"] for c in record["candidates"]}
        assert set(losses) == {(1, 5), (1, 8), (4, 5), (4, 8)}
        assert losses[record["winner"]["depth"], record["winner"]["features"]] == min(losses.values())
        residual = 100 * (validation.excess_return - forest.predict(validation.columns))
        assert record["validation_loss"] == pytest.approx(np.mean(residual**2))
        assert json.loads(json.dumps(record)) == record

    def test_validation_rows_only_choose(self, rows):
        """With one candidate they change nothing."""
        train, validation = rows
        grid = SMALL.model_copy(update={"depth": (3,), "features": (2,)})
        one, two = (fit_forests(grid, train, v, Training())[0][0] for v in (validation, draw(50, 9)))
        assert one == two

    def test_depth_bounds_the_trees(self, rows):
        grid = SMALL.model_copy(update={"depth": (3,), "features": (8,)})
        ((forest, _),) = fit_forests(grid, *rows, Training())
        trees = lightgbm.Booster(model_str=forest.text).dump_model()["tree_info"]
        assert max(tree["num_leaves"] for tree in trees) == 8

    @pytest.mark.parametrize("best", [0, 7], ids=["first", "last"])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_columns_are_drawn_evenly(self, best, seed):
        """Five of eight at the root: the best column is among them in 5/8 of the trees."""
        z = np.random.default_rng(3).uniform(-1, 1, size=(500, 8)).astype(np.float32)
        rows = ForestRows(z, np.where(z[:, best] > 0, 0.1, -0.1))
        grid = ForestGrid(trees=800, depth=(1,), features=(5,))
        ((forest, record),) = fit_forests(grid, rows, rows, Training(seeds=(seed,)))
        trees = lightgbm.Booster(model_str=forest.text).dump_model()["tree_info"]
        share = np.mean([tree["tree_structure"]["split_feature"] == best for tree in trees])
        assert abs(share - 5 / 8) < 4 * np.sqrt(5 / 8 * 3 / 8 / 800)
        assert record["winner"]["features"] == 5

    def test_uneven_numbers_are_raised(self):
        """By hand: 13 log2 13 = 48.1 and 12 log2 12 = 43.02; 22 log2 22 = 98.1 and 21 log2 21 = 92.2."""
        assert [evenly_drawn(k, 46) for k in (1, 10, 13, 20, 46, 99)] == [13, 13, 13, 20, 46, 46]
        assert [evenly_drawn(5, n) for n in (3, 8, 43, 94)] == [3, 5, 12, 22]


class TestDeterminism:
    def test_same_seed_same_text(self, rows):
        one, two = (fit_forests(SMALL, *rows, Training(seeds=(3,)))[0] for _ in range(2))
        assert one == two

    def test_threads_do_not_matter(self, rows):
        one, two = (fit_forests(SMALL, *rows, Training(threads=n))[0][0] for n in (1, 2))
        columns = rows[1].columns
        np.testing.assert_array_equal(one.predict(columns), two.predict(columns))
        np.testing.assert_array_equal(one.predict(columns), one.predict(columns, threads=2))

    def test_seeds_are_members_of_an_ensemble(self, rows):
        """Same winner, other trees; the first is what it is alone."""
        both = fit_forests(SMALL, *rows, Training(seeds=(3, 4)))
        (alone,) = fit_forests(SMALL, *rows, Training(seeds=(3,)))
        assert both[0] == alone
        assert both[0][0].text != both[1][0].text
        assert [record["seed"] for _, record in both] == [3, 4]
        assert both[0][1]["winner"] == both[1][1]["winner"]

    def test_restored_to_the_last_bit(self, rows):
        ((forest, _),) = fit_forests(SMALL, *rows, Training())
        restored = Forest.from_state(forest.state())
        np.testing.assert_array_equal(restored.predict(rows[1].columns), forest.predict(rows[1].columns))
        assert restored.state().keys() == forest.state().keys()
        assert restored == forest


class TestRows:
    def test_by_a_slow_loop(self, make_arrays):
        """Stocks with a return, their characteristics, and the factors of their month."""
        arrays = make_arrays(seed=4, balanced=False)
        returns = arrays.panel.excess_return.copy()
        returns[::9] = np.nan
        panel = dataclasses.replace(arrays.panel, excess_return=returns)
        sample = dataclasses.replace(arrays.samples.train, panel=panel.between(2000, 2002))
        factors = np.random.default_rng(1).normal(size=(36, 2))
        ours = ForestRows.of(sample, factors)
        wanted = [
            [*panel.characteristics[row], *factors[t]]
            for t in range(36)
            for row in range(panel.offsets[t], panel.offsets[t + 1])
            if not np.isnan(returns[row])
        ]
        np.testing.assert_array_equal(ours.columns, np.array(wanted, dtype=np.float32))
        assert ours.columns.dtype == np.float32
        np.testing.assert_array_equal(
            ours.excess_return, returns[: panel.offsets[36]][~np.isnan(returns[: panel.offsets[36]])]
        )
        assert np.shares_memory(ours.first(5).columns, ours.columns)

    def test_a_month_looks_as_in_training(self, make_arrays):
        sample = make_arrays(seed=5).samples.train
        factors = np.random.default_rng(2).normal(size=(36, 3))
        rows = ForestRows.of(sample, factors)
        ours = with_factors(sample.known(7).characteristics, factors[7])
        np.testing.assert_array_equal(ours, rows.columns[sample.panel.rows(7)])


def test_default_grid_is_part_of_the_literatures():
    """Gu, Kelly, Xiu (2020, table A.5)."""
    for grid in (RandomForest(), RandomForestForecast()):
        assert grid.trees == 300
        assert set(grid.depth) <= set(range(1, 7))
        assert set(grid.features) <= {3, 5, 10, 20, 30, 50}
