"""Attention of a sequence model over its look-back, from a model whose weights are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from seqpricing_core.explain.attention import AttentiveModel, compute_attention
from seqpricing_core.models.configs import IPCA
from seqpricing_core.models.factor_model import FactorHistory, FittedFactorModel
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.report.explanations import attention_figure
from seqpricing_core.report.figures import to_png
from seqpricing_core.windows import Window
from seqpricing_dagster.metadata import importance_metadata

L = 3


@dataclass(frozen=True)
class Watchful:
    """Step i looks at month i only, except that in the month ``odd`` all look at the newest."""

    odd: int

    def returns_given(self, known, factors):
        return np.zeros(len(known.asset_id))

    def latent_factors(self, known, outcome):
        return np.zeros(1)

    def attention_weights(self, known, outcome):
        assert known.month == outcome.month
        weights = np.eye(L)
        if int(str(known.month)[5:]) == self.odd:
            weights = np.zeros((L, L))
            weights[:, -1] = 1
        return weights

    def state(self):
        return {}


def family(models: dict[int, tuple]) -> FittedFamily:
    history = FactorHistory(np.array([], dtype="datetime64[M]"), np.empty((0, 1)))
    members = {k: tuple(FittedFactorModel(m, history, {}) for m in ms) for k, ms in models.items()}
    return FittedFamily(IPCA(), Window((2000, 2002), (2003, 2003), 2004), members)


def test_mean_over_months_and_members(small):
    fitted = family({1: (Watchful(3),), 2: (Watchful(3), Watchful(99))})
    table = compute_attention(fitted, small.test_sample(2004))
    assert table.columns == ["family", "number_of_factors", "decoder_step", "months_back", "weight"]
    # One of twelve months looks at the newest: 1/12 moves from the diagonal of the first two steps.
    expected = np.array([[11 / 12, 0, 1 / 12], [0, 11 / 12, 1 / 12], [0, 0, 1]])
    for k, share in ((1, 1.0), (2, 0.5)):
        rows = table.filter(number_of_factors=k)
        assert rows["decoder_step"].to_list() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert rows["months_back"].to_list() == [2, 1, 0] * 3
        np.testing.assert_allclose(
            rows["weight"].to_numpy().reshape(L, L), share * expected + (1 - share) * np.eye(L), atol=1e-15
        )


def test_a_family_without_attention(small):
    assert isinstance(Watchful(1), AttentiveModel)
    assert not isinstance(Blind(), AttentiveModel)
    assert compute_attention(family({1: (Blind(),)}), small.test_sample(2004)) is None


def test_networks(small):
    """The same class serves both: conditional autoencoders attend to nothing, sequence models do."""
    test = small.test_sample(2004)
    assert compute_attention(small.fitted["ca2"], test) is None
    table = compute_attention(small.fitted["seqlat"], test)
    sums = table.group_by("number_of_factors", "decoder_step").agg(pl.col("weight").sum())
    assert len(sums) == 2 * 6
    np.testing.assert_allclose(sums["weight"], 1, atol=1e-6)


class Blind:
    def returns_given(self, known, factors):
        return np.zeros(len(known.asset_id))

    def latent_factors(self, known, outcome):
        return np.zeros(1)

    def state(self):
        return {}


class TestFigure:
    @pytest.fixture(scope="class")
    def attention(self, small):
        return compute_attention(family({1: (Watchful(3),), 4: (Watchful(99),)}), small.test_sample(2004))

    def test_a_panel_per_k_with_the_newest_month_on_the_right(self, attention):
        figure = attention_figure(attention)
        panels = [axes for axes in figure.axes if axes.images]
        assert [axes.get_title() for axes in panels] == ["K = 1", "K = 4"]
        for axes in panels:
            left, right = axes.get_xlim()
            top, bottom = axes.get_ylim()[::-1]
            assert (left, right) == (L - 0.5, -0.5)
            assert (top, bottom) == (0.5, L + 0.5)
        np.testing.assert_allclose(panels[1].images[0].get_array(), np.eye(L))

    def test_same_table_same_bytes(self, attention):
        assert to_png(attention_figure(attention)) == to_png(attention_figure(attention))

    def test_the_ui_shows_it_for_families_that_have_it(self, attention):
        rows = {"characteristic": ["a", "b"], "importance": [0.3, 0.7], "method": "zero"}
        pooled = pl.DataFrame({"family": "seqlat", "number_of_factors": 4, **rows})
        both = pl.concat([pooled, pooled.with_columns(method=pl.lit("permutation"))])
        assert importance_metadata(both, 4, attention)["attention"].value.startswith("![")
        assert "attention" not in importance_metadata(both, 4)
