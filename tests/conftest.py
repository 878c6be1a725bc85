"""A small simulated market, carried through every step once, and helpers that several tests share."""

from __future__ import annotations

import copy
import datetime as dt
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.errors import InputError
from seqpricing_core.models.family import FittedFamily, fit_family
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.pipeline import StudyResults, run_study
from seqpricing_core.quality.gate import CHECK_NAMES
from seqpricing_core.sources import prepare_source
from seqpricing_core.sources.canonical_files import CanonicalFiles
from seqpricing_core.sources.public_files import PublicFiles
from seqpricing_core.study import PublicFilesSource, Study
from seqpricing_core.windows import Window, WindowSamples, split_estimation, window_for

os.environ.setdefault("SEQPRICING_DATA_ROOTS", os.sep)  # studies of tests name files wherever tests put them

TABLES = ("stock_months", "statements", "factors")

CHARACTERISTICS = [
    "mom_1", "mom_6", "mom_12", "mom_36", "chmom", "high52", "retvol", "maxret", "retvol_12",
    "mvel1", "dolvol", "turn", "stdturn", "ill", "zerotrade", "bm", "ep", "sp", "cfp", "lev", "agr",
    "egr", "lgr", "sgr", "grcapx", "chcsho", "acc", "absacc", "pctacc", "roa", "roe", "chpm",
    "chato", "cash", "cashpr", "cashdebt", "currat", "pchcurrat", "salecash", "invest",
]  # fmt: skip
"""Forty that need three years of history, no days and no further items."""
HISTORY_YEARS = 3

SETTINGS: dict[str, Any] = {
    "name": "small",
    "title": "small simulated market",
    "source": {"kind": "simulated", "seed": 3, "stocks": 70, "loadings": "nonlinear"},
    "sample": {"first_month": "2000-01", "last_month": "2005-12"},
    "characteristics": CHARACTERISTICS,
    "windows": {"train_years": 3, "validation_years": 1},
    "number_of_factors": [1, 2],
    "models": {
        "ipca": {},
        "ca2": {"grid": {"l1": [0.001], "learning_rate": [0.01], "beta_hidden": [[8, 4]]}},
        "seqlat": {
            "lookback": 6,
            "grid": {"l1": [0.001], "learning_rate": [0.01], "beta_hidden": [[8]]},
        },
    },
    "training": {"max_epochs": 4, "patience": 2, "batch_months": 12, "seeds": [1]},
    "portfolios": {"quantiles": 5},
    # Dagster's records of fifteen checks cost more than the rest of this study; their own tests turn them on.
    "quality": {"ignore": list(CHECK_NAMES)},
    "inference": {"replications": 99},
}
"""Test years 2004 and 2005, one family of each kind; a run takes about two seconds."""

ONE_CANDIDATE: dict[str, Any] = {"l1": [0.001], "learning_rate": [0.01]}
LATENT_FACTOR_MODELS: dict[str, Any] = SETTINGS["models"] | {
    "ca0": {"grid": ONE_CANDIDATE | {"beta_hidden": [[]]}},
    "ca1": {"grid": ONE_CANDIDATE | {"beta_hidden": [[8]]}},
    "ca3": {"grid": ONE_CANDIDATE | {"beta_hidden": [[8, 6, 4]]}},
    "seqrat": SETTINGS["models"]["seqlat"],
    "seqgat": SETTINGS["models"]["seqlat"],
}


@dataclass(frozen=True)
class Steps:
    """What every step of the small study made."""

    study: Study
    folder: Path
    tables: dict[str, pl.DataFrame]
    """The raw files, whole."""
    stock_months: dict[int, pl.DataFrame]
    statements: dict[int, pl.DataFrame]
    characteristics: dict[int, pl.DataFrame]
    panels: dict[int, Panel]
    managed: dict[int, ManagedPortfolios]

    def history(self, table: dict[int, pl.DataFrame], year: int) -> pl.DataFrame:
        """The years that characteristics of ``year`` are computed from."""
        return pl.concat(table[y] for y in range(year - HISTORY_YEARS, year + 1))

    def panel(self, first: int, last: int) -> Panel:
        return Panel.concatenate([self.panels[year] for year in range(first, last + 1)])

    def managed_portfolios(self, first: int, last: int) -> ManagedPortfolios:
        return ManagedPortfolios.concatenate([self.managed[year] for year in range(first, last + 1)])

    def samples(self, test_year: int) -> WindowSamples:
        window = window_for(self.study, test_year)
        first, last = window.estimation
        return split_estimation(window, self.panel(first, last), self.managed_portfolios(first, last))

    def test_sample(self, test_year: int) -> Sample:
        return Sample(self.panels[test_year], self.managed_portfolios(test_year - 1, test_year))

    @cached_property
    def fitted(self) -> dict[str, FittedFamily]:
        """Every latent factor model, also those that the study leaves out, on the first window."""
        samples = self.samples(self.study.test_years[0])
        models = Study.model_validate(settings_with({"models": LATENT_FACTOR_MODELS})).models
        return {
            config.family: fit_family(config, self.study.number_of_factors, samples, self.study.training)
            for config in models
        }


def benchmark_module(name: str) -> Any:
    """A file of benchmarks/, imported."""
    path = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def plain_loop() -> Any:
    """The usual training loop, torch's own modules: twin of the engine and baseline of its benchmark."""
    return benchmark_module("plain_loop")


@pytest.fixture(scope="session")
def random_market() -> Any:
    """Random canonical tables of any size, with every difficulty."""
    return benchmark_module("random_market")


def settings_with(changes: dict[str, Any]) -> dict[str, Any]:
    """`SETTINGS` with whole top-level sections replaced; None leaves a section out."""
    merged = copy.deepcopy(SETTINGS) | copy.deepcopy(changes)
    return {key: value for key, value in merged.items() if value is not None}


@pytest.fixture(scope="session")
def settings() -> Callable[..., dict[str, Any]]:
    """Content of the small study file, with sections replaced."""
    return lambda **changes: settings_with(changes)


@pytest.fixture(scope="session")
def latent_factor_models() -> dict[str, Any]:
    """Every latent factor model, small: the ``models`` of a study."""
    return copy.deepcopy(LATENT_FACTOR_MODELS)


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    """The small study, with sections replaced."""
    return lambda **changes: Study.model_validate(settings_with(changes))


@pytest.fixture(scope="session")
def small(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """The small study up to its managed portfolios."""
    study = make_study()
    folder = tmp_path_factory.mktemp("market")
    source = prepare_source(study, folder)
    sample_years = range(study.sample.first_year, study.sample.last_year + 1)
    raw_years = range(sample_years.start - 1 - HISTORY_YEARS, sample_years.stop)
    steps = Steps(
        study,
        folder,
        {name: pl.read_parquet(folder / f"{name}.parquet") for name in (*TABLES, "truth")},
        {year: source.stock_months(year) for year in raw_years},
        {year: source.statements(year) for year in raw_years},
        {},
        {},
        {},
    )
    for year in range(sample_years.start - 1, sample_years.stop):
        steps.characteristics[year] = compute_characteristics(
            steps.history(steps.stock_months, year),
            steps.history(steps.statements, year),
            year,
            study.acronyms,
        )
    for year in sample_years:
        known = pl.concat([steps.characteristics[year - 1], steps.characteristics[year]])
        steps.panels[year] = build_panel(known, steps.stock_months[year], source.factors(year), year, study)
        steps.managed[year] = compute_managed_portfolios(steps.panels[year])
    return steps


@pytest.fixture(scope="session")
def results(small: Steps, tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """The small study, run as a user runs it."""
    return run_study(small.study, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def write_tables() -> Callable[[Path, dict[str, pl.DataFrame]], dict[str, Any]]:
    """Writes canonical tables to a folder; returns the ``source`` section that names them."""

    def write(folder: Path, tables: dict[str, pl.DataFrame]) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            tables[name].write_parquet(folder / f"{name}.parquet")
        return {"kind": "canonical_files", **{name: str(folder / f"{name}.parquet") for name in TABLES}}

    return write


@pytest.fixture(scope="session")
def with_value() -> Callable[..., pl.DataFrame]:
    """The table with one value replaced."""

    def replace(table: pl.DataFrame, row: int, column: str, value: Any) -> pl.DataFrame:
        values = table[column].to_list()
        values[row] = value
        return table.with_columns(pl.Series(column, values, dtype=table.schema[column]))

    return replace


@dataclass(frozen=True)
class Arrays:
    """A panel made from plain arrays, cut into the samples of one window."""

    z: list[np.ndarray[Any, Any]]
    """Per month (N_t, P)."""
    r: list[np.ndarray[Any, Any]]
    """Per month (N_t,)."""
    asset_id: list[np.ndarray[Any, Any]]
    panel: Panel
    managed: ManagedPortfolios
    samples: WindowSamples


@pytest.fixture(scope="session")
def make_arrays() -> Callable[..., Arrays]:
    """A panel that follows a factor model: 3 training years and 1 of validation from 2000."""

    def make(
        *, seed: int = 0, stocks: int = 30, width: int = 4, factors: int = 3,
        balanced: bool = True, constant: bool = True, noise: float = 0.05,
    ) -> Arrays:  # fmt: skip
        random = np.random.default_rng(seed)
        months = np.arange("2000-01", "2004-01", dtype="datetime64[M]")
        gamma = random.normal(size=(width + 1, factors))
        state = random.normal(size=(stocks, width))
        z, r, ids = [], [], []
        for _ in months:
            state = 0.9 * state + 0.3 * random.normal(size=state.shape)
            here = np.arange(stocks) if balanced else np.flatnonzero(random.random(stocks) < 0.7)
            ranks = (np.argsort(np.argsort(state[here], axis=0), axis=0) + 1) * 2 / (len(here) + 1) - 1
            factor = 0.01 + 0.04 * random.normal(size=factors)
            loadings = np.column_stack([ranks, np.ones(len(here))]) @ gamma
            z.append(ranks.astype(np.float32))
            r.append(loadings @ factor + noise * random.normal(size=len(here)))
            ids.append(here.astype(np.int64))
        panel = Panel(
            characteristic_names=tuple(f"c{j}" for j in range(width)),
            months=months,
            offsets=np.concatenate([[0], np.cumsum([len(ones) for ones in ids])]),
            asset_id=np.concatenate(ids),
            characteristics=np.concatenate(z),
            excess_return=np.concatenate(r),
            market_equity=np.ones(sum(len(ones) for ones in ids)),
        )
        managed = compute_managed_portfolios(panel, constant=constant)
        samples = split_estimation(Window((2000, 2002), (2003, 2003), 2004), panel, managed)
        return Arrays(z, r, ids, panel, managed, samples)

    return make


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` and its content."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def refuses(tmp_path: Path) -> Callable[..., InputError]:
    """Runs an action that must end in one `InputError` which names everything in ``mentions``.

    Every part of the error must say something, and the files below ``tmp_path`` must be the same
    before and after: nothing changed, nothing new, no temporary file.
    """

    def check(action: Callable[[], Any], *mentions: str) -> InputError:
        before = tree(tmp_path)
        with pytest.raises(InputError) as caught:
            action()
        error = caught.value
        missing = [text for text in mentions if text not in str(error)]
        assert not missing, f"the error does not name {missing}:\n{error}"
        assert all((error.what, error.where, error.expected, error.remedy))
        after = tree(tmp_path)
        assert after.keys() == before.keys(), f"files appeared or went: {after.keys() ^ before.keys()}"
        assert after == before, "a file changed"
        return error

    return check


PUBLIC_ITEMS = (
    "Shares split adjusted", "Revenue", "Earnings", "Assets", "Current Assets", "Liabilities",
    "Current Liabilities", "Shareholders equity", "Cash at end of period", "Long-term debt",
    "Cash from operating activities", "Capital expenditures",
)  # fmt: skip


@pytest.fixture(scope="session")
def public_tables() -> dict[str, pl.DataFrame]:
    """Prices, statements and factors in the shape of the public files: 24 tickers, 1996-2001."""
    random = np.random.default_rng(5)
    months = pl.date_range(dt.date(1996, 1, 1), dt.date(2001, 12, 1), "1mo", eager=True).dt.month_end()
    quarters = [month for month in months if month.month % 3 == 0]
    prices, statements = [], []
    for ticker in ["brk-b", *(f"t{number:02d}" for number in range(23))]:
        close = 20 * np.exp(np.cumsum(random.normal(0.005, 0.06, len(months))))
        prices.append(pl.DataFrame({
            "ticker": ticker, "Date": months, "High": close * 1.04, "Close": close,
            "Volume": random.integers(10**5, 10**6, len(months)), "n_days": 21,
            "n_zero_volume_days": random.integers(0, 3, len(months)),
            "sum_sq_daily_ret": random.uniform(0.001, 0.02, len(months)),
            "max_daily_ret": random.uniform(0.01, 0.1, len(months)),
        }))  # fmt: skip
        size = random.uniform(0.5, 2.0)
        statements.append(pl.DataFrame({
            "ticker": ticker.upper().replace("-", "."), "Quarter end": quarters, "Price": close[2::3] * 0.9,
            **{item: size * random.uniform(1e6, 2e6, len(quarters)) for item in PUBLIC_ITEMS},
        }))  # fmt: skip
    factors = pl.DataFrame({
        "date": months, "Mkt-RF": random.normal(0.01, 0.04, len(months)), "RF": [0.003] * len(months),
    })  # fmt: skip
    return {"prices": pl.concat(prices), "statements": pl.concat(statements), "factors": factors}


@pytest.fixture
def public_source(tmp_path: Path, public_tables: dict[str, pl.DataFrame]) -> Callable[..., PublicFiles]:
    """The public-files source over files in ``tmp_path``, with tables or options replaced."""

    def write(
        options: dict[str, Any] | None = None, suffix: str = "parquet", **changed: pl.DataFrame
    ) -> PublicFiles:
        paths = {}
        for name, table in (public_tables | changed).items():
            paths[name] = tmp_path / f"{name}.{suffix}"
            if suffix == "csv":
                table.write_csv(paths[name])
            else:
                table.write_parquet(paths[name])
        return PublicFiles(PublicFilesSource(kind="public_files", **paths, **(options or {})))

    return write


@pytest.fixture
def canonical_source(
    tmp_path: Path, small: Steps, write_tables: Callable[..., dict[str, Any]]
) -> Callable[..., CanonicalFiles]:
    """The canonical-files source over the small market's tables, with some replaced."""

    def write(**changed: pl.DataFrame) -> CanonicalFiles:
        paths = write_tables(tmp_path, small.tables | changed)
        return CanonicalFiles(*(Path(paths[name]) for name in TABLES))

    return write
