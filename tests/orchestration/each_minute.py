"""For `test_backfill`: definitions whose yearly schedule ticks each minute and asks for models alone."""

from __future__ import annotations

from seqpricing_dagster import automation, targets
from seqpricing_dagster.definitions import build_definitions
from seqpricing_dagster.project import project_from_environment


def _models_of_year(graph: targets.Graph, test_year: int) -> targets.Targets:
    every = targets.whole_year(graph, test_year)
    return {key: partitions for key, partitions in every.items() if key.path[0] == "models"}


automation.YEARLY = "* * * * *"
automation.whole_year = _models_of_year
defs = build_definitions(project_from_environment())
