"""Exhibits 5, 6 and 7 of *sequence* for a study of its predictors, and results by look-back; markdown.

    python benchmarks/sequence_exhibits.py studies/sequence_public.yaml --folder outputs/sequence_exhibits

Predictions of each model are kept in the folder, so that a second call goes on where the first was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from seqpricing_core.evaluation.forecast_measures import compute_forecast_measures
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores
from seqpricing_core.evaluation.return_measures import compute_return_measures
from seqpricing_core.models.family import TITLES, FittedFamily
from seqpricing_core.pipeline import StudyData, estimation_samples, fit_window, prepare_data
from seqpricing_core.portfolios import compute_portfolio_returns
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.study import Portfolios, Study, load_study
from seqpricing_core.windows import sample_of_test_year

ROWS = {
    "Return (%)": ("annual_return", 100), "Std. dev. (%)": ("annual_volatility", 100),
    "Sharpe": ("sharpe", 1), "Skewness": ("skewness", 1), "Kurtosis (excess)": ("kurtosis", 1),
    "Turnover (%)": ("turnover_sequence", 100), "Maximum drawdown (%)": ("max_drawdown", 100),
}  # fmt: skip


def predictions_of(study: Study, data: StudyData, file: Path) -> pl.DataFrame:
    """All test years of a study with one model, from the file if it is there."""
    if file.is_file():
        return pl.read_parquet(file)
    fitted: dict[str, FittedFamily] = {}
    parts, clock = [], time.process_time()
    for year in study.test_years:
        samples = estimation_samples(study, data, year)
        fitted = fit_window(study, samples, study.families, fitted)
        years = year - study.lookback_years, year
        test = sample_of_test_year(samples.window, data.panel(*years), data.managed_portfolios(*years))
        parts += [predict_test_year(family, test) for family in fitted.values()]
    predictions = pl.concat(parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    predictions.write_parquet(file)
    print(f"{file.stem}: {time.process_time() - clock:.0f} CPU seconds", flush=True)
    return predictions


def alone(study: Study, family: str, **options: int) -> Study:
    """The study with one of its models, some of its options changed."""
    (config,) = [model for model in study.models if model.family == family]
    return study.model_copy(update={"models": (config.model_copy(update=options),)})


def forecasts_table(predictions: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Exhibit 5, and the rank IC."""
    scores = compute_monthly_scores(predictions, asset="asset_id")
    measures = compute_forecast_measures(scores, ["family"])
    by = {row["family"]: row for row in measures.iter_rows(named=True)}
    lines = [_row("", [TITLES.get(name, name) for name in names]), "|---" + "|---:" * len(names) + "|"]
    for label, key, scale, digits in (
        ("MSE (%)", "mse", 100, 3),
        ("R² oos (%)", "predictive_r2", 100, 2),
        ("Rank IC (%)", "rank_ic", 100, 2),
    ):
        lines.append(_row(label, [f"{by[name][key] * scale:.{digits}f}" for name in names]))
    return lines


def portfolios_table(
    predictions: pl.DataFrame, study: Study, weights: str, names: Sequence[str]
) -> list[str]:
    """Exhibit 6 (equal weights) or 7 (value weights): all stocks, then without micro-caps."""
    lines = [_row("", [TITLES.get(name, name) for name in names]), "|---" + "|---:" * len(names) + "|"]
    for panel, percentile in (("A: all stocks", None), ("B: without micro-caps", 20.0)):
        options = study.portfolios.model_dump() | {"weights": (weights,), "micro_cap_percentile": percentile}
        returns = compute_portfolio_returns(predictions, Portfolios(**options), study.costs)
        returns = returns.filter(portfolio="long_short")
        measures = compute_return_measures(returns)
        turnover = returns.group_by("family").agg(pl.col("turnover_sequence").mean())
        table = measures.join(turnover, on="family")
        by = {row["family"]: row for row in table.iter_rows(named=True)}
        lines.append(_row(f"*{panel}*", [""] * len(names)))
        for label, (key, scale) in ROWS.items():
            lines.append(_row(label, [f"{by[name][key] * scale:.2f}" for name in names]))
    return lines


def _row(label: str, cells: Sequence[str]) -> str:
    return f"| {label} | {' | '.join(cells)} |"


def main(
    study_file: Path,
    folder: Annotated[Path, typer.Option()] = Path("outputs/sequence_exhibits"),
    by_lookback: Annotated[str, typer.Option(help="Family to vary the look-back of.")] = "gru",
    lookbacks: Annotated[str, typer.Option()] = "1,3,6,24",
) -> None:
    """Train what is missing and print the tables of what there is."""
    study = load_study(study_file)
    data = prepare_data(study, folder / "source")
    names = list(study.families)
    parts = [predictions_of(alone(study, f), data, folder / f"{f}.parquet") for f in names]
    every = pl.concat(parts)
    print("\n".join(["", "Exhibit 5", *forecasts_table(every, names)]))
    for number, weights in ((6, "equal"), (7, "value")):
        print(
            "\n".join(["", f"Exhibit {number}", *portfolios_table(every, study, weights, names)]), flush=True
        )
    lengths = {12: every.filter(family=by_lookback)}
    for length in map(int, filter(None, lookbacks.split(","))):
        file = folder / f"{by_lookback}_{length}.parquet"
        lengths[length] = predictions_of(alone(study, by_lookback, lookback=length), data, file)
    named = [table.with_columns(family=pl.lit(f"L = {length}")) for length, table in sorted(lengths.items())]
    order = [f"L = {length}" for length in sorted(lengths)]
    table = pl.concat(named)
    print("\n".join(["", f"{TITLES[by_lookback]} by look-back", *forecasts_table(table, order)]))
    print("\n".join(portfolios_table(table, study, "equal", order)))


if __name__ == "__main__":
    typer.run(main)
