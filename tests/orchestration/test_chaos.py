"""A short version of `benchmarks/chaos.py`: real services, two backfills at once, a few kills."""

from __future__ import annotations

import pytest

from seqpricing_dagster.doctor import leftovers


@pytest.mark.slow
def test_two_backfills_of_the_same_windows_survive_kills(chaos, finished, study_file, tmp_path):
    """Two people ask for every window at the same moment; workers, daemon and server are killed under them.

    All windows are as in the undisturbed run, to the byte, and none was trained twice.
    """
    models = (finished.assets / "models").rglob("*.safetensors")
    reference = {str(file.relative_to(finished.assets)): file.read_bytes() for file in models}
    assert len(reference) == 3 * len(finished.study.families)
    under = chaos.attack(tmp_path, 1, (study_file, finished, reference), kills=3, at_once=2)
    twice, reused = chaos.trained_twice(under.project)
    assert sum(under.kills.values()) >= 1
    assert twice == 0
    assert reused >= 1
    assert not [finding for finding in leftovers(under.project) if finding.level == "error"]
