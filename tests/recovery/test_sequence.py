"""Returns that follow the path of a characteristic: a model that looks back finds them, no other does.

The markets and the share of the oracle's R2 are those of benchmarks/sequence_recovery.py, whose table of five
seeds is in docs/sequence.md; bands are wider than what they gave.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recovery():
    path = Path(__file__).parents[2] / "benchmarks" / "sequence_recovery.py"
    spec = importlib.util.spec_from_file_location("sequence_recovery", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shares(recovery):
    """Of each market, by model."""

    def of(market, *names):
        panel, expected = recovery.simulate(market, 1)
        return {n: recovery.share_of_oracle(recovery.models()[n], panel, expected) for n in names}

    return of


def test_the_path_pays(shares):
    found = shares("path", "GRU", "DNN, last month")
    assert found["GRU"] > 0.6
    assert found["DNN, last month"] < 0.1


def test_only_the_last_month_pays(shares):
    found = shares("last month", "GRU", "DNN, last month")
    assert found["GRU"] > 0.75
    assert found["DNN, last month"] > 0.75
