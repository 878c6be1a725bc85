"""The study file: one YAML says everything a study is, and is checked before anything runs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from seqpricing_core import clock
from seqpricing_core.data_roots import require_inside_roots
from seqpricing_core.errors import InputError
from seqpricing_core.models.configs import GAN, Config, ModelConfig, PositiveInt, SequencePredictor
from seqpricing_core.months import Month, year_of
from seqpricing_core.source_configs import VendorSource

Year = Annotated[int, Field(ge=1900, le=2200)]


class SimulatedSource(Config):
    """A market with known truth (METHODS: simulated market); see `sources.simulated`."""

    kind: Literal["simulated"]
    seed: int = 1
    stocks: Annotated[int, Field(ge=20)] = 300
    """Alive at any time."""
    loadings: Literal["linear", "nonlinear", "path"] = "nonlinear"
    """``path``: loadings depend on how characteristics moved over the year before, not on the last value."""
    detail: Literal["plain", "complete"] = "plain"
    """``complete``: with all that makes vendors' files difficult; see `sources.simulated`."""
    daily: bool = False
    """Also write days; of a ``complete`` market only."""
    filing: Literal["reported", "lagged"] = "reported"
    """``lagged``: statements of a ``complete`` market carry no filing date, and count as public four (a year:
    six) months after the period, as from Compustat; none is restated."""

    @model_validator(mode="after")
    def _complete_where_needed(self) -> Self:
        if self.daily and self.detail != "complete":
            raise ValueError("daily: true needs detail: complete; the plain market has no calendar of days")
        if self.filing == "lagged" and self.detail != "complete":
            raise ValueError("filing: lagged needs detail: complete; the plain market has filing dates")
        return self


class PublicFilesSource(Config):
    """Free public files: monthly price aggregates, quarterly statements, monthly factors."""

    kind: Literal["public_files"]
    prices: Path
    statements: Path
    factors: Path
    index_members: Path | None = None
    daily_prices: Path | None = None
    """Daily prices of the same vendor, as far as there are: for the quality gate."""
    reporting_lag_months: Annotated[int, Field(ge=1, le=24)] = 4
    maximum_monthly_return: Annotated[float, Field(gt=0)] = 3.0


class CanonicalFilesSource(Config):
    """Your own data, already in the canonical tables of `seqpricing_core.tables`."""

    kind: Literal["canonical_files"]
    stock_months: Path
    statements: Path
    factors: Path
    stock_days: Path | None = None
    factor_days: Path | None = None


Source = Annotated[
    SimulatedSource | PublicFilesSource | CanonicalFilesSource | VendorSource,
    Field(discriminator="kind"),
]


Transform = Annotated[int, Field(ge=1, le=7)]
LagMonths = Annotated[int, Field(ge=0, le=24)]


class Macro(Config):
    """Macro series for the models that read them; see `sources.macro` for formats, codes and timing."""

    file: Path
    format: Literal["table", "fred_md"] = "table"
    """``fred_md``: as the St. Louis Fed publishes it, with ``sasdate`` and a first row of codes."""
    month_column: str = "month"
    """Of a ``table``: dates, text such as 1996-01, or numbers such as 199601."""
    series: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all"] = "all"
    exclude: tuple[str, ...] = ()
    default_transform: Transform = 1
    """Code of the series of a ``table``; ``fred_md`` has its own in the file."""
    transforms: dict[str, Transform] = Field(default_factory=dict)
    """Codes of single series; they win over the file's."""
    publication_lag_months: LagMonths = 1
    """The value of month m is known at the end of month m + this."""
    publication_lags: dict[str, LagMonths] = Field(default_factory=dict)
    """Of single series."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # mappings have no hash, and a study must have one


class Sample(Config):
    """Months of returns that the panel holds; the last may be open, the calendar then closes it."""

    first_month: Month
    last_month: Month | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last_month is not None and self.last_month < self.first_month:
            raise ValueError(f"last_month {self.last_month} before first_month {self.first_month}")
        if not self.first_month.endswith("-01"):
            raise ValueError(f"a first_month in January (windows are whole years), not {self.first_month}")
        return self

    @property
    def first_year(self) -> int:
        return year_of(self.first_month)

    @property
    def last_year(self) -> int:
        return year_of(self.last_month) if self.last_month else clock.today().year - 1


class Universe(Config):
    """Which stocks may enter month t, decided by what was known at the end of t-1."""

    minimum_history_months: Annotated[int, Field(ge=0, le=36)] = 12
    require: tuple[str, ...] = ("mvel1",)
    common_shares_only: bool = True
    """Leave out what is known to be no ordinary common share (CRSP codes other than 10 and 11)."""
    exchanges: Annotated[tuple[Literal["NYSE", "AMEX", "NASDAQ", "OTHER"], ...], Field(min_length=1)] = (
        "NYSE",
        "AMEX",
        "NASDAQ",
    )
    """Leave out what is known to be listed elsewhere. A source that names no exchange loses nothing."""
    minimum_price: Annotated[float, Field(gt=0)] | None = None
    """USD, of the price that traded at the end of t-1; a stock whose price is unknown is left out."""


class Panel(Config):
    """How characteristics become z."""

    managed_portfolio_constant: bool = True
    missing_characteristics: Literal["median", "zero"] = "median"
    """``median``: of the month, before ranking. ``zero``: ranks are of those known, the others become 0 after
    it (*deepchar*)."""
    impute_missing_returns: bool = False
    """Give a stock without a return in t the median of the month (*memory*), instead of leaving it out."""


class Windows(Config):
    """Moving windows of whole years: train, then validation, then one test year."""

    train_years: PositiveInt = 20
    validation_years: PositiveInt = 4
    first_test_year: Year | None = None

    @property
    def estimation_years(self) -> int:
        return self.train_years + self.validation_years


class GridSearch(Config):
    """Every combination of the grid."""

    kind: Literal["grid"] = "grid"


class RandomSearch(Config):
    """Random draws between the smallest and largest values of the grid."""

    kind: Literal["random"]
    trials: PositiveInt = 30
    seed: int = 1


class OptunaSearch(Config):
    """Optuna's tree-structured Parzen estimator over the same ranges, some candidates at a time."""

    kind: Literal["optuna"]
    trials: PositiveInt = 60
    round_size: PositiveInt = 15
    seed: int = 1


Search = Annotated[GridSearch | RandomSearch | OptunaSearch, Field(discriminator="kind")]


class Training(Config):
    """How networks are trained; the same for every family, so that families can be compared."""

    max_epochs: PositiveInt = 200
    patience: PositiveInt = 10
    batch_months: PositiveInt = 64
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    threads: PositiveInt = 1
    search: Search = GridSearch()
    warm_start: bool = False
    """Begin with the weights of the window before, where the architecture is the same."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is CUDA where there is a GPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products with characteristics while a single hidden layer trains; validation is in float32."""
    block_mib: PositiveInt | None = None
    """Values of hidden layers held at once; by default what stays in a cache: 16, on a GPU 256."""

    memory_mib: PositiveInt = 2048
    """For what a pass keeps where it must keep whole layers, as the GAN does."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds that differ")
        return seeds


class Portfolios(Config):
    """Sorts on expected returns, formed at t-1, held over t."""

    quantiles: Annotated[int, Field(ge=2)] = 10
    weights: Annotated[tuple[Literal["rank", "capped", "equal", "value"], ...], Field(min_length=1)] = (
        "equal",
        "value",
    )
    breakpoints: Literal["all", "nyse"] = "all"
    micro_cap_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Stocks below this NYSE percentile of market equity are left out (*sequence*: 20); null keeps all."""
    weight_cap_percentile: Annotated[float, Field(gt=0, le=100)] = 80.0
    """Capped weights: market equity counts up to this NYSE percentile."""
    short_leg: bool = False
    """Report the short leg alone too."""

    @property
    def without_micro_caps(self) -> Portfolios:
        """The same, without stocks below the 20th percentile (*sequence*, panels B)."""
        return self.model_copy(update={"micro_cap_percentile": 20.0})

    @field_validator("weights")
    @classmethod
    def _distinct(cls, weights: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(weights)) != len(weights):
            raise ValueError("weights that differ")
        return weights


class Costs(Config):
    """Proportional costs of trading, in basis points of the value traded (*memory*, 3.7)."""

    basis_points: Annotated[float, Field(ge=0)] = 30.0
    other_basis_points: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Further levels, each a column of its own beside ``net_return``."""
    half_spreads: bool = False
    """Also charge each stock its own half-spread, the column ``half_spread`` of the predictions."""

    @field_validator("other_basis_points")
    @classmethod
    def _distinct(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(levels)) != len(levels):
            raise ValueError("levels that differ")
        return levels


class Inference(Config):
    """How the tests of a study are run, and what returns are held against."""

    factor_returns: Path | None = None
    """Monthly returns of published factors, Kenneth French's names and others: see
    `evaluation.factor_returns`. Without, alphas are against the market of the source alone."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of intervals."""
    replications: Annotated[int, Field(ge=99)] = 999
    """Of every bootstrap."""
    trials: PositiveInt | None = None
    """Models tried, for the deflated Sharpe ratio, where more were tried than the study holds."""
    seed: int = 0


class Robustness(Config):
    """Checks that train again, and so are off unless asked for."""

    odd_even: bool = False
    """Train on odd (even) asset ids, test on odd and even ones (*memory*, appendix E); see `robustness`."""


class Quality(Config):
    """The quality gate: every check warns unless it is named here; see docs/quality.md."""

    block: tuple[str, ...] = ()
    """Checks whose findings stop the study."""
    ignore: tuple[str, ...] = ()
    """Checks that do not run."""
    maximum_monthly_return: Annotated[float, Field(gt=0)] = 3.0
    """Decimal; the lower bound is its inverse, 1/4 of the price."""
    maximum_daily_return: Annotated[float, Field(gt=0)] = 1.0
    stale_months: Annotated[int, Field(ge=2, le=12)] = 3
    stale_days: Annotated[int, Field(ge=2, le=40)] = 10
    restatement_tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Change of an item as a share of assets."""
    accounting_tolerance: Annotated[float, Field(ge=0)] = 0.01
    """As a share of assets."""
    largest_minority: Annotated[float, Field(ge=0)] = 0.5
    """Assets that neither liabilities nor reported equity explain, as a share of assets."""
    minimum_coverage: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the universe that has a characteristic, mean of a year."""
    minimum_member_coverage: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of index members that have a price."""
    minimum_exit_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Stocks that end before the sample, per stock and year; fewer look like survivors."""

    @model_validator(mode="after")
    def _known_checks(self) -> Self:
        named = (*self.block, *self.ignore)
        if not named:
            return self
        from seqpricing_core.quality.gate import CHECK_NAMES

        for name in named:
            if name not in CHECK_NAMES:
                raise ValueError(f"names of checks; for '{name}': {_hint(name, CHECK_NAMES)}")
        if both := {*self.block} & {*self.ignore}:
            raise ValueError(f"a check to block or to ignore, not both: {', '.join(sorted(both))}")
        return self


class Study(Config):
    """Everything a study is. Load one with `load_study`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    source: Source
    macro: Macro | None = None
    sample: Sample
    universe: Universe = Universe()
    characteristics: tuple[str, ...] | Literal["all", "memory", "sequence", "deepchar", "recurrent"] = "all"
    """Acronyms; or ``all``, or a paper's list: what of it the source provides."""
    panel: Panel = Panel()
    windows: Windows = Windows()
    number_of_factors: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3, 4, 5, 6)
    models: tuple[ModelConfig, ...]
    training: Training = Training()
    portfolios: Portfolios = Portfolios()
    costs: Costs = Costs()
    inference: Inference = Inference()
    robustness: Robustness = Robustness()
    quality: Quality = Quality()

    @field_validator("models", mode="before")
    @classmethod
    def _by_family(cls, models: Any) -> Any:
        """``models: {ipca: {}, seqlat: {lookback: 12}}`` reads better than a list."""
        if not models:
            raise ValueError("at least 1 item, such as {ipca: {}}")
        if not isinstance(models, dict):
            return models
        for family, options in models.items():
            if options is not None and (not isinstance(options, dict) or "family" in options):
                raise ValueError(f"options of {family} as a mapping without 'family', such as {{}}")
        return [{"family": family, **(options or {})} for family, options in models.items()]

    @field_validator("models")
    @classmethod
    def _each_family_once(cls, models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        families = [model.family for model in models]
        if len(set(families)) != len(families):
            raise ValueError(f"each family once, not {', '.join(families)}")
        return models

    @field_validator("characteristics")
    @classmethod
    def _distinct_and_known(cls, value: tuple[str, ...] | str, info: ValidationInfo) -> tuple[str, ...] | str:
        """Names of the registry or, from a source that delivers characteristics, of the source."""
        if isinstance(value, tuple):
            if not value or len(set(value)) != len(value):
                raise ValueError("'all', or at least one acronym of the registry, each once")
            _require_known(value, info.data.get("source"))
        return value

    @field_validator("universe")
    @classmethod
    def _known_requirements(cls, value: Universe, info: ValidationInfo) -> Universe:
        try:
            _require_known(value.require, info.data.get("source"))
        except ValueError as error:
            detail = InitErrorDetails(
                type="value_error", loc=("require",), input=value.require, ctx={"error": error}
            )
            raise ValidationError.from_exception_data("universe", [detail]) from error
        return value

    @model_validator(mode="after")
    def _universe_of_source(self) -> Self:
        """The default requires size, which not every source that delivers characteristics has."""
        lacking = [
            name for name in self.universe.require if name not in (self.ready_characteristics or [name])
        ]
        if lacking:
            raise ValueError(
                f"universe.require of what the source delivers, such as {{require: []}}, not '{lacking[0]}'"
            )
        return self

    @model_validator(mode="after")
    def _characteristics_of_source(self) -> Self:
        from seqpricing_core.characteristics.registry import available_characteristics

        if self.ready_characteristics is None:
            available_characteristics(self.computed_characteristics, self.inputs)
        if not self.acronyms:
            raise ValueError(f"a source that can provide one of the characteristics '{self.characteristics}'")
        if self.universe.minimum_price is not None and ("stock_months.unadjusted_price" not in self.inputs):
            raise ValueError("a source with unadjusted_price in stock_months for universe.minimum_price")
        return self

    @model_validator(mode="after")
    def _enough_managed_portfolios(self) -> Self:
        portfolios = len(self.acronyms) + int(self.panel.managed_portfolio_constant)
        if max(self.number_of_factors) > portfolios:
            raise ValueError(
                f"number_of_factors up to the number of managed portfolios, {portfolios}, "
                f"not {max(self.number_of_factors)}"
            )
        return self

    @model_validator(mode="after")
    def _characteristics_of_models(self) -> Self:
        for model in self.models:
            for acronym in getattr(model, "characteristics", ()):
                if acronym not in self.acronyms:
                    raise ValueError(
                        f"characteristics of {model.family} that the panel has, not '{acronym}'; "
                        f"{_hint(acronym, self.acronyms)}"
                    )
        return self

    @model_validator(mode="after")
    def _lookback_within_training(self) -> Self:
        months = 12 * self.windows.train_years
        for model in self.models:
            if isinstance(model, get_args(SequencePredictor)) and model.lookback > months:
                raise ValueError(
                    f"a lookback of {model.family} up to the {months} months of training, "
                    f"not {model.lookback}"
                )
        return self

    @model_validator(mode="after")
    def _room_for_a_window(self) -> Self:
        if not self.test_years:
            raise ValueError(
                f"a sample with room for one window: {self.windows.train_years} train + "
                f"{self.windows.validation_years} validation + 1 test year do not fit into "
                f"{self.sample.first_year}-{self.sample.last_year}"
                f" (first_test_year: {self.windows.first_test_year})"
            )
        return self

    @property
    def first_test_year(self) -> int:
        earliest = self.sample.first_year + self.windows.estimation_years
        return self.windows.first_test_year or earliest

    @property
    def test_years(self) -> range:
        earliest = self.sample.first_year + self.windows.estimation_years
        if self.first_test_year < earliest:
            return range(0)
        return range(self.first_test_year, self.sample.last_year + 1)

    @property
    def grows(self) -> bool:
        """It has no last month: the calendar adds years, and months of the running one for the signal."""
        return self.sample.last_month is None

    @property
    def signal_month(self) -> str:
        """The month after the newest one in the data, whose returns nobody knows yet."""
        last = self.sample.last_month or f"{self.sample.last_year}-12"
        return str(np.datetime64(last, "M") + 1)

    @property
    def signal_year(self) -> int:
        """The test year of the window whose models make the signal."""
        return year_of(self.signal_month)

    @property
    def model_years(self) -> range:
        """Test years with a window of models: those tested, and the one the signal month lies in."""
        return range(self.test_years.start, self.signal_year + 1)

    @property
    def acronyms(self) -> tuple[str, ...]:
        """Characteristics of the panel, in order."""
        from seqpricing_core.characteristics.registry import available_characteristics

        if isinstance(self.characteristics, tuple):
            return self.characteristics
        if self.ready_characteristics is not None:
            return self.ready_characteristics
        return available_characteristics(self.characteristics, self.inputs)

    @property
    def inputs(self) -> frozenset[str]:
        """What the source has, as `RawTables.inputs` names it."""
        from seqpricing_core.sources.inputs import source_inputs

        return source_inputs(self.source)

    @property
    def absent_characteristics(self) -> dict[str, str]:
        """What the source cannot provide of those asked for by name of a list, and why."""
        from seqpricing_core.characteristics.registry import absent_characteristics, characteristics_of_list

        if isinstance(self.characteristics, tuple) or self.ready_characteristics is not None:
            return {}
        asked = characteristics_of_list(self.characteristics)
        absent = absent_characteristics(self.inputs)
        return {acronym: absent[acronym] for acronym in asked if acronym in absent}

    @property
    def history_years(self) -> int:
        """Calendar years of raw tables before year y that the characteristics of year y may reach."""
        from seqpricing_core.characteristics.registry import history_years

        return history_years(self.computed_characteristics if self.ready_characteristics is None else ())

    @property
    def reads_days(self) -> bool:
        """Whether a characteristic is made from days."""
        from seqpricing_core.characteristics.registry import read_days

        if self.ready_characteristics is not None:
            return False
        return read_days(self.computed_characteristics, self.inputs)

    @property
    def ready_characteristics(self) -> tuple[str, ...] | None:
        """Characteristics that the source delivers ready-made; None where they are computed."""
        return getattr(self.source, "ready_characteristics", None)

    @property
    def computed_characteristics(self) -> tuple[str, ...]:
        """Those of the panel, and those that only the universe asks for."""
        return tuple(dict.fromkeys((*self.acronyms, *self.universe.require)))

    @property
    def lookback_years(self) -> int:
        """Calendar years before the test year whose managed portfolios a model may read.

        At most those it was trained on; what lies before them is padded.
        """
        months = max(getattr(model, "lookback", 1) for model in self.models) - 1
        return min(math.ceil(months / 12), self.windows.estimation_years)

    @property
    def signal_families(self) -> tuple[str, ...]:
        """Those that next month's signal can be had from.

        A model that reads macro series would need those of a month that the sample does not hold.
        """
        return tuple(family for family in self.families if not self.reads_macro(family))

    def reads_macro(self, family: str) -> bool:
        """Whether a family reads the macro series of this study, if it has any."""
        return self.macro is not None and family == GAN.model_fields["family"].default

    @property
    def reads_sequences(self) -> bool:
        """Whether a model reads past months of the characteristics themselves."""
        return any(isinstance(model, get_args(SequencePredictor)) for model in self.models)

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(model.family for model in self.models)


def load_study(path: Path) -> Study:
    """Read and check a study file.

    Raises
    ------
    InputError
        Names the file, the key and what was expected; for a misspelt key, the likely one. Or a file that it
        names lies outside the folders that study files may name: see `data_roots`.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _DistinctKeys)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"the study file cannot be read: {error}",
            where=str(path),
            expected="a YAML file; studies/demo.yaml is an example",
            remedy="correct the path or the YAML",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            "the study file holds no keys",
            where=str(path),
            expected=f"a mapping with the keys {', '.join(Study.model_fields)}",
            remedy="start from studies/demo.yaml",
        )
    try:
        study = Study.model_validate(_relative_to(path.parent, content))
    except ValidationError as error:
        raise _readable(error, path) from error
    require_inside_roots(study, path)
    return study


def _relative_to(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Paths in a study file are relative to the file, whatever the working directory."""
    resolved = dict(content)
    for section in ("source", "macro", "inference"):
        if isinstance(content.get(section), dict):
            resolved[section] = _resolved_paths(folder, content[section], (section,))
    return resolved


def _resolved_paths(folder: Path, section: dict[str, Any], location: tuple[str, ...]) -> dict[str, Any]:
    options = list(_options(Study, location))
    # One key may be a path in one kind of source and a word in another.
    meant = [o for o in options if "kind" in o.model_fields and section.get("kind") in _tags(o)]
    paths = {
        key
        for kind in meant or options
        for key, field in kind.model_fields.items()
        if Path in (field.annotation, *get_args(field.annotation))
    }
    resolved: dict[str, Any] = {}
    for key, value in section.items():
        if key in paths and isinstance(value, str):
            resolved[key] = str((folder / Path(value).expanduser()).resolve())
        elif isinstance(value, dict):
            resolved[key] = _resolved_paths(folder, value, (*location, key))
        else:
            resolved[key] = value
    return resolved


def _tags(option: type[Config]) -> tuple[Any, ...]:
    return get_args(option.model_fields["kind"].annotation)


def _readable(error: ValidationError, path: Path) -> InputError:
    problems = [(*_problem(item), _key(item["loc"])) for item in error.errors()]
    return InputError(
        "; ".join(what for what, _, _ in problems) + " in the study file",
        where=f"{path}, " + "; ".join(key for _, _, key in problems),
        expected="; ".join(expected for _, expected, _ in problems),
        remedy="correct the key or its value in the study file",
    )


def _problem(item: ErrorDetails) -> tuple[str, str]:
    """What is wrong and what was expected, from one error of pydantic's."""
    location, kind, context = item["loc"], item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        known = [name for model in _options(Study, location[:-1]) for name in model.model_fields]
        return f"unknown key '{location[-1]}'", _hint(str(location[-1]), known)
    if kind == "missing":
        return f"missing key '{location[-1]}'", "this key to be there"
    if kind == "union_tag_invalid":
        tags = context["expected_tags"]
        hint = _hint(context["tag"], tags.replace("'", "").split(", "))
        return f"unknown {context['discriminator']} '{context['tag']}'", f"one of {tags}; {hint}"
    expected = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not location:
        return "keys that do not go together", expected
    return f"wrong value {item['input']!r:.80}", expected


def _key(location: tuple[int | str, ...]) -> str:
    """The key as it stands in the file: without the index of a model, without the tag of a source."""
    parts = list(location)
    if parts[:1] == ["models"] or (parts[:1] == ["source"] and len(parts) > 2):
        del parts[1:2]
    return "key " + ".".join(map(str, parts)) if parts else "the study as a whole"


def _options(model: type[Config], location: tuple[int | str, ...]) -> Iterator[type[Config]]:
    """The config classes that may stand at ``location`` of a study."""
    if not location:
        yield model
        return
    head, rest = location[0], location[1:]
    if head not in model.model_fields:
        # An index, or the tag of a union: it selects among the classes, it is no field.
        tags = [tag for field in model.model_fields.values() for tag in get_args(field.annotation)]
        if isinstance(head, int) or head in tags:
            yield from _options(model, rest)
        return
    for inner in _config_classes(model.model_fields[str(head)].annotation):
        yield from _options(inner, rest)


def _config_classes(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for argument in get_args(annotation):
        yield from _config_classes(argument)


def _require_known(acronyms: tuple[str, ...], source: Source | None) -> None:
    """Registered, or of a source that delivers characteristics; a wrong source says so alone."""
    from seqpricing_core.characteristics.registry import REGISTRY

    if source is None:
        return
    ready: tuple[str, ...] | None = getattr(source, "ready_characteristics", None)
    known, whose = (REGISTRY, "the registry") if ready is None else (ready, "the source")
    for acronym in acronyms:
        if acronym not in known:
            raise ValueError(f"acronyms of {whose}; for '{acronym}': {_hint(acronym, known)}")


class _DistinctKeys(yaml.SafeLoader):
    """YAML in which a key may stand once: the standard loader keeps the last and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key_node.value}' stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _hint(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"one of {', '.join(sorted(set(known)))}"
