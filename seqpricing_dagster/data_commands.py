"""`seqpricing data ...`: free files, the local copy of a WRDS study, simulated markets as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from seqpricing_core.download import FREE_FILES, fetch
from seqpricing_core.errors import InputError
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.sources.simulated.wrds import write_wrds_tables
from seqpricing_core.study import SimulatedSource

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


class Loadings(StrEnum):
    LINEAR = "linear"
    NONLINEAR = "nonlinear"
    PATH = "path"


class Vendor(StrEnum):
    CANONICAL = "canonical"
    WRDS = "wrds"


@data_app.command("simulate")
def simulate(
    folder: Annotated[Path, typer.Argument(help="Where the parquet files go.")],
    stocks: Annotated[int, typer.Option(min=20, help="Alive at any time.")] = 300,
    first_year: Annotated[int, typer.Option(min=1900)] = 1980,
    last_year: Annotated[int, typer.Option(max=2200)] = 2023,
    seed: int = 1,
    loadings: Loadings = Loadings.NONLINEAR,
    vendor: Annotated[Vendor, typer.Option(help="Canonical tables and the truth, or WRDS's tables.")] = (
        Vendor.CANONICAL
    ),
    *,
    plain: Annotated[bool, typer.Option(help="Without what makes vendors' files difficult.")] = False,
    daily: Annotated[bool, typer.Option(help="Also days.")] = False,
) -> None:
    """Write a SIMULATED market to files."""
    if last_year < first_year:
        raise InputError(
            f"the last year, {last_year}, is before the first, {first_year}",
            where="--first-year, --last-year",
            expected="at least one year",
            remedy="exchange them",
        )
    try:
        source = SimulatedSource(
            kind="simulated", seed=seed, stocks=stocks, loadings=loadings.value,
            detail="plain" if plain else "complete", daily=daily,
            filing="lagged" if vendor is Vendor.WRDS and not plain else "reported",
        )  # fmt: skip
    except ValidationError as error:
        raise InputError(
            str(error.errors()[0]["msg"]),
            where="the options of simulate",
            expected="options that go together",
            remedy="leave --plain or --daily away",
        ) from error
    write = write_wrds_tables if vendor is Vendor.WRDS else write_simulated_market
    write(source, first_year, last_year, folder)
    Console(stderr=True).print(f"SIMULATED market in {folder}: {len(list(folder.glob('*.parquet')))} files")


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
