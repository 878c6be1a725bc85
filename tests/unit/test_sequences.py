"""The second index of the panel, the order of training, and forecasts month by month."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqpricing_core.explain.attention import attention_by_stock, compute_attention
from seqpricing_core.explain.importance import compute_importance_sums, pool_importance
from seqpricing_core.models.configs import LSTM, BiLSTM, LSTMAttention
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.models.sequence.predictor import SequenceForecast, build
from seqpricing_core.nn.sequence_batch import SequenceBatch, longest_first
from seqpricing_core.nn.sequence_scoring import MonthlyScorer
from seqpricing_core.panel.panel import Sample
from seqpricing_core.panel.sequences import SequenceIndex, Windows
from seqpricing_core.study import Training
from seqpricing_core.training.sequence_training import TrainingWindows, prepared

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gappy(make_arrays):
    """Stocks come and go: three in ten are absent in a month."""
    return make_arrays(seed=4, stocks=25, balanced=False)


def by_hand(panel, row, lookback):
    """The rows of one window, found by going through the whole panel."""
    month, asset = panel.month_of_row[row], panel.asset_id[row]
    wanted = [month - back for back in range(lookback - 1, -1, -1)]
    where = {
        (m, a): place for place, (m, a) in enumerate(zip(panel.month_of_row, panel.asset_id, strict=True))
    }
    return [where.get((m, asset), -1) for m in wanted]


@pytest.mark.parametrize("lookback", [1, 4, 12])
def test_windows_against_a_search_through_the_panel(gappy, lookback):
    panel = gappy.panel
    index = SequenceIndex.of(panel.months, panel.offsets, panel.asset_id)
    rows = np.random.default_rng(0).integers(len(panel), size=60)
    found = index.windows(rows, lookback)
    expected = np.array([by_hand(panel, row, lookback) for row in rows])
    assert (found.rows == expected).all()
    assert (found.lengths == (expected >= 0).sum(1)).all()
    for one, other in zip(found.aligned(), expected, strict=True):
        held = other[other >= 0]
        assert list(one) == [-1] * (lookback - len(held)) + list(held)


def test_a_month_that_nobody_has_is_a_gap(gappy):
    """Months are those of the calendar, not those that happen to be there."""
    panel = gappy.panel
    first, later = panel.between(2000, 2000), panel.between(2002, 2002)
    months = np.concatenate([first.months, later.months])
    offsets = np.concatenate([first.offsets, later.offsets[1:] + len(first)])
    index = SequenceIndex.of(months, offsets, np.concatenate([first.asset_id, later.asset_id]))
    january = np.arange(len(first), len(first) + later.offsets[1])
    assert (index.windows(january, 12).rows[:, :-1] == -1).all()
    assert (index.windows(january, 24).rows[:, :11] >= 0).any()


@pytest.mark.parametrize("run_months", [1, 3, 12])
def test_an_epoch_holds_every_window_once(gappy, run_months):
    windows = TrainingWindows(gappy.panel, 6, 2)
    order = windows.order(run_months, np.random.default_rng(1))
    index = windows.index
    expected = [r for r in range(len(gappy.panel)) if (np.array(by_hand(gappy.panel, r, 6)) >= 0).sum() >= 2]
    assert sorted(order) == expected
    assert list(order) != list(windows.order(run_months, np.random.default_rng(2)))
    together = np.diff(index.asset[order]) == 0
    if run_months == 1:
        assert together.mean() < 0.2
    else:  # neighbours in the order are mostly months of the same run
        assert together.mean() > 0.6 * (1 - 1 / run_months)
        assert (np.diff(index.month[order])[together] > 0).mean() > 0.9


def test_batches_are_made_ahead_in_order_and_errors_arrive():
    made = []

    def numbers():
        for number in range(5):
            made.append(number)
            yield number
        raise RuntimeError("the sixth")

    ahead = prepared(numbers())
    assert [next(ahead) for _ in range(5)] == made == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="the sixth"):
        next(ahead)


def forecaster(family=LSTM, **options):
    torch.manual_seed(0)
    config = family(lookback=6, hidden=5, **options)
    return SequenceForecast(config, build(config, 4))


@pytest.mark.parametrize("family", [LSTM, BiLSTM])
class TestScoring:
    def test_against_windows_of_the_whole_panel(self, gappy, family):
        """Month by month with shared projections, and all windows gathered from one table."""
        model, panel = forecaster(family), gappy.panel
        sample = Sample(panel, gappy.managed)
        by_month = model.expected_returns_of_months([sample.known(t) for t in range(len(sample))])
        index = SequenceIndex.of(panel.months, panel.offsets, panel.asset_id)
        windows = index.windows(np.arange(len(panel)), 6)
        order = longest_first(windows.lengths)
        with torch.inference_mode():
            projected = model.network.project(torch.tensor(panel.characteristics))
            batch = SequenceBatch.of(Windows(windows.rows[order]), CPU)
            expected = np.empty(len(panel))
            expected[order] = model.network(projected, batch).numpy() / 100
        np.testing.assert_allclose(np.concatenate(by_month), expected, rtol=0, atol=1e-8)

    def test_months_together_or_one_by_one_bit_for_bit(self, gappy, family):
        model = forecaster(family)
        sample = Sample(gappy.panel, gappy.managed)
        months = [sample.known(t) for t in range(8, 20)]
        together = model.expected_returns_of_months(months)
        for known, returns in zip(months, together, strict=True):
            assert (model.expected_returns(known) == returns).all()

    def test_no_month_from_t_on_is_read(self, gappy, family):
        """All of t and later is made another; forecasts of t are the same bit for bit, later ones are not.

        For the Bi-LSTM: what it reads backward ends at t-1 as well.
        """
        model, panel, t = forecaster(family), gappy.panel, 20
        changed = panel.characteristics.copy()
        changed[panel.offsets[t + 1] :] *= -0.5  # z_t, of which r_t+1 is the first forecast
        other = Sample(replace(panel, characteristics=changed), gappy.managed)
        sample = Sample(panel, gappy.managed)
        one, two = (
            model.expected_returns_of_months([s.known(m) for m in range(len(s))]) for s in (sample, other)
        )
        assert all((a == b).all() for a, b in zip(one[: t + 1], two[: t + 1], strict=True))
        assert all((a != b).any() for a, b in zip(one[t + 1 :], two[t + 1 :], strict=True))


def test_stocks_with_too_few_months_get_the_mean_of_the_others(gappy):
    sample = Sample(gappy.panel, gappy.managed)
    network = forecaster().network
    known = sample.known(10)
    every = MonthlyScorer(network, 6, 1).forecast(known)
    some = MonthlyScorer(network, 6, 5).forecast(known)
    index = SequenceIndex.of(gappy.panel.months, gappy.panel.offsets, gappy.panel.asset_id)
    rows = gappy.panel.rows(10)
    enough = index.windows(np.arange(rows.start, rows.stop), 6).lengths >= 5
    assert 0 < enough.sum() < len(enough)
    np.testing.assert_allclose(some[enough], every[enough], rtol=0, atol=1e-8)
    assert (some[~enough] == some[enough].mean()).all()
    assert (MonthlyScorer(network, 6, 6).forecast(sample.known(0)) == 0).all()  # nobody has six months


@pytest.fixture(scope="module")
def fitted(small) -> FittedFamily:
    config = LSTMAttention(lookback=6, hidden=4, batch=100)
    return fit_family(config, [1], small.samples(2004), Training(max_epochs=2, seeds=(1, 2)))


@pytest.fixture(scope="module")
def test_year(small) -> Sample:
    return Sample(small.panels[2004], small.managed_portfolios(2003, 2004), history=small.panel(2003, 2004))


class TestExplanations:
    def test_attention_of_each_stock_and_its_mean(self, fitted, test_year):
        every = [attention_by_stock(fitted, test_year.known(t)) for t in range(len(test_year))]
        sums = every[3].group_by("asset_id").agg(weight=every[3]["weight"].sum())
        assert len(sums) == len(test_year.known(3).asset_id)
        by_month = np.stack([table["weight"].to_numpy().reshape(-1, 6).mean(axis=0) for table in every])
        table = compute_attention(fitted, test_year)
        assert table["months_back"].to_list() == [5, 4, 3, 2, 1, 0]
        np.testing.assert_allclose(table["weight"], by_month.mean(axis=0), rtol=0, atol=1e-12)
        np.testing.assert_allclose(table["weight"].sum(), 1, rtol=0, atol=1e-6)

    def test_families_without_attention_have_none(self, small, test_year):
        config = LSTM(lookback=6, hidden=4, batch=100)
        plain = fit_family(config, [1], small.samples(2004), Training(max_epochs=1))
        assert compute_attention(plain, test_year) is None
        assert attention_by_stock(plain, test_year.known(0)) is None

    def test_importance_takes_a_characteristic_from_every_month(self, small, fitted, test_year):
        """Against networks that cannot see it: zero weights in the first layer."""
        short = replace(test_year, panel=test_year.panel, history=test_year.history)
        sums = compute_importance_sums(fitted, short, methods=("zero",))
        column = 3
        blind = []
        for member in fitted.models[0]:
            network = build(fitted.config, small.panels[2004].characteristics.shape[1])
            network.load_state_dict(member.model.network.state_dict())
            with torch.no_grad():
                network.stack.layers[0].cell.input_weight[..., column] = 0
            blind.append(SequenceForecast(fitted.config, network))
        errors = 0.0
        for t in range(len(test_year)):
            returns = test_year.outcome(t).excess_return
            forecast = np.mean([model.expected_returns(test_year.known(t)) for model in blind], axis=0)
            errors += np.nansum((returns - forecast) ** 2)
        name = test_year.panel.characteristic_names[column]
        row = sums.filter(characteristic=name)
        assert row["squared_error"].item() == pytest.approx(errors, rel=1e-6)
        assert row["baseline_squared_error"].item() != row["squared_error"].item()
        assert set(pool_importance(sums)["measure"]) == {"predictive_r2"}
