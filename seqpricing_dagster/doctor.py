"""`seqpricing doctor`: what is wrong with a study, section by section; `seqpricing clean` removes leftovers.

A section is a title and a function that looks at a project and returns findings; `SECTIONS` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dagster as dg
from rich.console import Console

from seqpricing_core.locks import SUFFIX, is_held, owner_of, runs_since
from seqpricing_dagster.io import READERS, PartitionFiles
from seqpricing_dagster.project import Project
from seqpricing_dagster.recovery import recover, stuck_runs

Level = Literal["note", "warning", "error"]
COLOURS: dict[Level, str] = {"note": "dim", "warning": "yellow", "error": "red"}

SUFFIXES = {suffix for suffix, _ in READERS.values()}


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know."""

    level: Level
    """An error makes `seqpricing doctor` end with status 1."""
    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class Section:
    """One subject that the doctor looks at."""

    title: str
    inspect: Callable[[Project], Sequence[Finding]]


def leftovers(project: Project) -> list[Finding]:
    """What crashes and changed studies leave behind: files, locks, runs."""
    return [
        *(finding for finding, _ in _removable(project)),
        *_stuck(project),
    ]


def fitness(project: Project) -> Sequence[Finding]:
    """Whether machine, study and files are fit to run."""
    from seqpricing_dagster.fitness import fitness_findings

    return fitness_findings(project)


def data(project: Project) -> Sequence[Finding]:
    """What the quality gate finds in the raw tables."""
    from seqpricing_dagster.data_findings import data_findings

    return data_findings(project)


SECTIONS: tuple[Section, ...] = (
    Section("Leftovers", leftovers),
    Section("Machine, study and files", fitness),
    Section("Data", data),
)
"""What `seqpricing doctor` looks at, in order."""


def examine(project: Project, console: Console) -> int:
    """Print the findings of every section; the number of errors among them."""
    errors = 0
    for section in SECTIONS:
        findings = section.inspect(project)
        console.print(f"[bold]{section.title}[/bold]" + ("" if findings else ": nothing found"))
        for finding in findings:
            colour = COLOURS[finding.level]
            console.print(f"  [{colour}]{finding.level}[/{colour}] ", end="")
            console.print(f"{finding.what}: {finding.where}", markup=False, soft_wrap=True)
            console.print(f"      {finding.remedy}", markup=False, soft_wrap=True)
            errors += finding.level == "error"
    return errors


def clean(project: Project, *, apply: bool) -> list[str]:
    """Remove leftover files and release stuck runs; without ``apply`` only say what would be done.

    Nothing of a living process is touched, and no partition of the study.
    """
    done = []
    for finding, path in _removable(project):
        if apply:
            path.unlink(missing_ok=True)
        done.append(f"{'removed' if apply else 'would remove'} {finding.what}: {path}")
    if apply:
        with _instance(project) as instance:
            return done + (recover(instance) if instance else [])
    return done + [f"would report failed: {finding.where}" for finding in _stuck(project)]


@contextmanager
def _instance(project: Project) -> Iterator[dg.DagsterInstance | None]:
    """The records of the study; None if nothing of it ever ran."""
    if not (project.dagster_home / "dagster.yaml").is_file():
        yield None
        return
    with dg.DagsterInstance.from_config(str(project.dagster_home)) as instance:
        yield instance


def _removable(project: Project) -> Iterator[tuple[Finding, Path]]:
    remedy = "seqpricing clean STUDY --apply removes it"
    for path in sorted(project.folder.rglob(".*.tmp")):
        if not _is_being_written(path):
            yield Finding("warning", "half a file of a process that is gone", str(path), remedy), path
    for path in sorted(project.folder.rglob(f"*{SUFFIX}")):
        if not is_held(path):
            owner = owner_of(path)
            by = f" by process {owner.pid}" if owner else ""
            yield Finding("note", f"lock left{by}, held by nobody", str(path), remedy), path
    for path, why in _orphans(project):
        yield (
            Finding("note", f"file of a partition that the study does not have ({why})", str(path), remedy),
            path,
        )


def _is_being_written(path: Path) -> bool:
    """``.<name>.<pid>.<thread>.tmp``; written after its process started."""
    match = re.search(r"\.(\d+)\.\d+\.tmp$", path.name)
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return True
    return match is not None and runs_since(int(match[1]), written + 1)


def _orphans(project: Project) -> Iterator[tuple[Path, str]]:
    """Files below ``assets`` that no partition of an asset of this study is kept in."""
    from seqpricing_dagster.definitions import build_definitions

    definitions = build_definitions(project)
    graph = definitions.resolve_asset_graph()
    known: set[Path] = {project.signal_file}
    folders: set[Path] = {project.signal_file.parent}
    for key in graph.get_all_asset_keys():
        files = (definitions.resources or {}).get(
            graph.get(key).assets_def.get_io_manager_key_for_asset_key(key)
        )
        if isinstance(files, PartitionFiles):
            partitions = graph.get(key).partitions_def
            names = partitions.get_partition_keys() if partitions else [None]
            known |= {files.path(key, name) for name in names}
            folders.add(files.path(key, None).parent)
    for path in sorted(project.assets.rglob("*")):
        ours = path.suffix.removeprefix(".") in SUFFIXES and not path.name.startswith(".")
        if ours and path.is_file() and path not in known:
            yield path, "another year" if path.parent in folders else "another asset"


def _stuck(project: Project) -> Iterator[Finding]:
    with _instance(project) as instance:
        for stuck in stuck_runs(instance) if instance else ():
            yield Finding(
                "error", stuck.why, f"run {stuck.run_id}",
                "seqpricing ui STUDY releases it when it starts, and so does seqpricing clean STUDY --apply",
            )  # fmt: skip
