"""A small run of deploy/exercise/scale_out.py: a Ray cluster loses a node in the middle of a backfill."""

from __future__ import annotations

from pathlib import Path

import local_services
import pytest
import scale_out


@pytest.mark.integration
@pytest.mark.slow
def test_a_backfill_outlives_a_node_of_its_cluster(tmp_path: Path) -> None:
    """Windows train on several nodes, one is killed with all its processes: same bytes as one process."""
    for module in ("dagster_ray", "ray", "dagster_postgres", "moto.server", "psutil", "obstore"):
        pytest.importorskip(module, reason="pip install 'seqpricing[exercise,object-storage,postgres,ray]'")
    if local_services.postgres_programs() is None:
        pytest.skip("no PostgreSQL on this machine (Debian: apt install postgresql)")
    figures = scale_out.exercise(tmp_path, windows=3, nodes=3, epochs=60)
    assert figures.backfill == "COMPLETED_SUCCESS"
    assert figures.same_bytes
    assert figures.runs["FAILURE"] >= 1, "the node died with a run on it"
    assert figures.runs["SUCCESS"] == figures.windows
    left = [figures.windows_by_node[node] for node in ("machine2", "machine3")]
    assert min(left) >= 1, "windows of one backfill train on several nodes"
