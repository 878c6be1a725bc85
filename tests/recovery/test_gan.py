"""A market with one known factor: its SDF and its loadings must be found, and be good in months never seen.

r_it = beta_i,t-1 f_t + u_it, beta = 1.5 z_1 z_2 + z_3 about a cross-sectional mean of 0.05; f has a monthly
Sharpe ratio of 0.3. 150 stocks, seven years of training, two of validation, sixteen fresh years. Over four
seeds the Sharpe ratio of the SDF portfolio was 0.89 to 0.96 of what the true loadings as weights earn
(0.20 to 0.39; equally weighted market 0.11 to 0.15), and loadings and truth correlated by 0.86 to 0.98 (IPCA,
linear: 0.75).
"""

from __future__ import annotations

import numpy as np
import pytest

from seqpricing_core.models.configs import GAN
from seqpricing_core.models.sdf_gan import fit_gan
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.study import Training
from seqpricing_core.windows import Window, split_estimation

CONFIG = GAN(sdf_hidden=(32,), criterion="loss", minimum_epochs=0)
TRAINING = Training(max_epochs=40, patience=8, batch_months=12)


def one_factor_market(seed):
    """Panel of 2000-2024 and the true beta of every row."""
    random = np.random.default_rng(seed)
    months = np.arange("2000-01", "2025-01", dtype="datetime64[M]")
    state = random.normal(size=(150, 4))
    z, r, ids, betas = [], [], [], []
    for _ in months:
        state = 0.9 * state + 0.4 * random.normal(size=state.shape)
        here = np.flatnonzero(random.random(150) < 0.9)
        ranks = (np.argsort(np.argsort(state[here], axis=0), axis=0) + 1) * 2 / (len(here) + 1) - 1
        beta = 1.5 * ranks[:, 0] * ranks[:, 1] + ranks[:, 2]
        beta += 0.05 - beta.mean()
        z.append(ranks.astype(np.float32))
        r.append(beta * (0.012 + 0.04 * random.normal()) + 0.05 * random.normal(size=len(here)))
        ids.append(here)
        betas.append(beta)
    panel = Panel(
        characteristic_names=("a", "b", "c", "d"),
        months=months,
        offsets=np.concatenate([[0], np.cumsum([len(here) for here in ids])]),
        asset_id=np.concatenate(ids),
        characteristics=np.concatenate(z),
        excess_return=np.concatenate(r),
        market_equity=np.ones(sum(len(here) for here in ids)),
    )
    return panel, betas


def sharpe(returns):
    return np.mean(returns) / np.std(returns)


@pytest.fixture(scope="module")
def found():
    """Fresh months: Sharpe ratios, and correlations of loadings with the truth."""
    panel, betas = one_factor_market(1)
    managed = compute_managed_portfolios(panel)
    window = Window((2000, 2006), (2007, 2008), 2009)
    samples = split_estimation(window, panel.between(2000, 2008), managed.between(2000, 2008))
    model = fit_gan(CONFIG, 1, samples, TRAINING, 1).model
    fresh = Sample(panel.between(2009, 2024), managed.between(2009, 2024))
    earned, correlations = {"sdf": [], "market": [], "truth": []}, []
    for t, beta in enumerate(betas[108:]):
        known, r = fresh.known(t), fresh.outcome(t).excess_return
        for name, weights in (("sdf", model.sdf_weights(known)), ("market", np.full(len(r), 1 / len(r))),
                              ("truth", beta)):  # fmt: skip
            earned[name].append(weights @ r)
        correlations.append(np.corrcoef(model.factor_loadings(known)[:, 0], beta)[0, 1])
    return {name: sharpe(returns) for name, returns in earned.items()}, correlations


def test_the_sdf_portfolio_beats_the_market(found):
    ratios, _ = found
    assert ratios["sdf"] > ratios["market"] + 0.05
    assert ratios["sdf"] > 0.75 * ratios["truth"]


def test_loadings_are_those_of_the_truth(found):
    _, correlations = found
    assert np.mean(correlations) > 0.9
    assert np.min(correlations) > 0.85
