"""`seqpricing data ...`: free files, and the local copy of a WRDS study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from seqpricing_core.download import FREE_FILES, fetch
from seqpricing_core.errors import InputError

data_app = typer.Typer(no_args_is_help=True, help="Get data. Nothing is fetched unless it is named here.")


@data_app.command("list")
def list_files() -> None:
    """Free files that can be fetched by name."""
    for name, free in FREE_FILES.items():
        Console().print(f"{name}: {free.about}\n    {free.url}", soft_wrap=True, highlight=False)


@data_app.command("fetch")
def fetch_files(
    names: Annotated[list[str], typer.Argument(help="Names of `data list`, or one https:// address.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path("data"),
    sha256: Annotated[str | None, typer.Option(help="Expected checksum, of one file.")] = None,
) -> None:
    """Fetch free files; what is there already is kept, what broke off goes on."""
    if sha256 is not None and len(names) != 1:
        raise InputError(
            "one checksum for several files",
            where="--sha256",
            expected="one file",
            remedy="fetch them one by one",
        )
    for name in names:
        url, file = _address(name, folder)
        checksum = fetch(url, file, sha256=sha256)
        Console().print(f"{file}  sha256 {checksum}", soft_wrap=True, highlight=False)


@data_app.command("copy")
def copy_study(
    study: Annotated[Path, typer.Argument(help="A study file with a source of kind wrds.")],
) -> None:
    """Copy from WRDS what a study needs and its cache lacks; `run` does the same by itself."""
    from seqpricing_core.source_configs import WrdsSource
    from seqpricing_core.sources import prepare_source
    from seqpricing_core.study import load_study

    opened = load_study(study)
    if not isinstance(opened.source, WrdsSource):
        raise InputError(
            f"a source of kind {opened.source.kind} is not copied from a server",
            where=f"{study}, key source.kind",
            expected="wrds",
            remedy="nothing is to be done: the study reads its files where they are",
        )
    files = prepare_source(opened, opened.source.cache).files()
    Console().print(f"{len(files)} files in {opened.source.cache}", soft_wrap=True, highlight=False)


def _address(name: str, folder: Path) -> tuple[str, Path]:
    if name in FREE_FILES:
        return FREE_FILES[name].url, folder / FREE_FILES[name].name
    if "://" in name:
        return name, folder / (name.rstrip("/").rsplit("/", 1)[-1].split("?")[0] or "file")
    raise InputError(
        f"no free file is called '{name}'",
        where="seqpricing data fetch",
        expected=f"one of {', '.join(FREE_FILES)}, or an https:// address",
        remedy="see `seqpricing data list`",
    )
