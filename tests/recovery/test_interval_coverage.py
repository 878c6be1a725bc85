"""Do 95% intervals hold the truth in 95 of 100 simulated worlds?"""

from __future__ import annotations

import numpy as np
import pytest

from seqpricing_core.inference.intervals import MEAN, R_SQUARED, SHARPE, bootstrap_interval

WORLDS, MONTHS = 1000, 120


def coverage(statistic, worlds, truth) -> float:
    """Block lengths are estimated in each world, as in a study."""
    found = (bootstrap_interval(statistic, world, replications=399) for world in worlds)
    return sum(interval.low <= truth <= interval.high for interval in found) / WORLDS


@pytest.mark.parametrize("tails", ["normal", "fat"])
def test_sharpe_ratio(tails):
    """Monthly ratio .2; normal months, and Student's t with five degrees of freedom."""
    random = np.random.default_rng(10)
    shape = (WORLDS, MONTHS)
    noise = (
        random.standard_normal(shape) if tails == "normal" else random.standard_t(5, shape) / (5 / 3) ** 0.5
    )
    assert 0.93 <= coverage(SHARPE, 0.2 + noise, 0.2) <= 0.97


def test_mean_of_dependent_months():
    """First-order autocorrelation .2."""
    random = np.random.default_rng(3)
    noise = random.standard_normal((MONTHS + 50, WORLDS))
    for t in range(1, len(noise)):
        noise[t] += 0.2 * noise[t - 1]
    assert 0.93 <= coverage(MEAN, noise[50:].T, 0.0) <= 0.97


def test_predictive_r2():
    """A month's squared returns vary threefold and its errors with them; the truth is 1 - .99 E[s]/E[s]."""
    random = np.random.default_rng(5)
    squared = random.gamma(3.0, 1 / 3, (WORLDS, MONTHS))
    errors = squared * 0.99 + 0.02 * squared * random.standard_normal(squared.shape)
    assert 0.93 <= coverage(R_SQUARED, np.stack([errors, squared], axis=-1), 0.01) <= 0.97
