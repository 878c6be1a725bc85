"""Commands about data: `seqpricing data simulate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from seqpricing_core.errors import InputError
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.sources.simulated.wrds import write_wrds_tables
from seqpricing_core.study import SimulatedSource

data_app = typer.Typer(no_args_is_help=True, help="Raw data.")


class Loadings(StrEnum):
    LINEAR = "linear"
    NONLINEAR = "nonlinear"
    PATH = "path"


class Vendor(StrEnum):
    CANONICAL = "canonical"
    WRDS = "wrds"


@data_app.callback()
def data() -> None:
    """Raw data."""


@data_app.command()
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
