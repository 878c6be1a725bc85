"""Fingerprints of the core's own source: which code made a result."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

from pydantic import BaseModel

PACKAGE = "seqpricing_core"
ROOT = Path(__file__).parent
SETTINGS_MODULES = frozenset(
    {"study", "clock", "source_configs", "data_roots", "models.configs", "errors", "months", "locks"}
)
"""What settings are made of, and messages: the values that a step runs with are named beside its code."""


def code_version(*sources: str, settings: BaseModel | dict[str, object] | None = None) -> str:
    """Fingerprint of the core's files that a step runs, and of the settings it runs with.

    Parameters
    ----------
    sources
        Files or folders of `seqpricing_core`, such as ``panel/build.py`` or ``nn``.
    settings
        The parts of the study that the step depends on.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = ROOT / source
        inside = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        for file in sorted(inside) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    if settings is not None:
        plain = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:12]


@cache
def sources_of(module: str) -> tuple[str, ...]:
    """The files of the core that a module runs: its own, and those it imports, and so on.

    Read from import statements: nothing is imported (torch is slow), and no list can fall behind the code.

    Parameters
    ----------
    module
        Inside `seqpricing_core`, such as ``models.ipca``.
    """
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in SETTINGS_MODULES or (file := _file(name)) is None:
            continue
        found[name] = str(file.relative_to(ROOT))
        waiting += _imports(file)
    return tuple(sorted(found.values()))


def _imports(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            # "from package import module" names a module where "from module import name" names none.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    start = f"{PACKAGE}."
    return [name.removeprefix(start) for name in names if name.startswith(start)]


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
