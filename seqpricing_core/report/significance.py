"""Tables of tests between models: Sharpe ratios, rank correlations, joint alphas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from seqpricing_core.inference.alphas import FACTOR_MODELS
from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.cells import p_value, plain_number
from seqpricing_core.report.published import published, same_model
from seqpricing_core.report.shown import Column, Model, Shown, model_table, reasons, title_of
from seqpricing_core.report.strategies import TESTS_ASSET
from seqpricing_core.report.table import ABSENT, Block, Cell, Row, Table, finite, number
from seqpricing_core.report.tables import PORTFOLIOS
from seqpricing_core.study import Study

PAPERS_BEST: Final = "seqlat"
"""The model that *memory* tests against all others."""


def reference_model(study: Study, models: Sequence[Model]) -> Model | None:
    """The model that table 5 tests against the others: SeqLAT, else the last family of the study.

    Chosen before any result is seen. With its largest K.
    """
    families = [family for family in study.families if any(family == f for f, _ in models)]
    if not families:
        return None
    family = PAPERS_BEST if PAPERS_BEST in families else families[-1]
    return max((model for model in models if model[0] == family), key=lambda model: model[1])


def sharpe_test_table(
    shown: Shown, study: Study, inference: InferenceTables, reference: Model, weights: str
) -> Table | None:
    """*memory*, table 5: is the Sharpe ratio of the reference model higher? Before costs."""
    tests = against(inference.sharpe_tests.filter(weights=weights, costs="before"), reference)
    wide = tests.pivot(
        "portfolio", index=list(MODEL), maintain_order=True,
        values=["difference", "p_reference_better", "p_ledoit_wolf", "p_holm"],
    )  # fmt: skip
    held = [name for name in PORTFOLIOS if f"difference_{name}" in wide.columns]
    columns: list[Column] = []
    for name in held:
        title = PORTFOLIOS[name]
        columns += [
            (f"{title}: difference", plain_number(f"difference_{name}", 2)),
            ("p", p_value(f"p_reference_better_{name}")),
            ("p (LW)", p_value(f"p_ledoit_wolf_{name}")),
            ("p (Holm)", p_value(f"p_holm_{name}")),
        ]
    label = f"{title_of(reference[0])}{f', K = {reference[1]}' if reference[1] else ''}"
    question = f"Does {title_of(reference[0])} have the higher Sharpe ratio? {weights.capitalize()} weights"
    table = model_table(
        Shown(shown.factors), f"sharpe_tests_{weights}", question, [("", wide)], columns, source=TESTS_ASSET,
        note=f"Difference: annual Sharpe ratio of {label} minus the model's. p: Jobson and Korkie with "
        "Memmel's correction, one-sided, small if the first is higher. p (LW): Ledoit and Wolf's bootstrap, "
        "two-sided. p (Holm): the two-sided Jobson-Korkie test, adjusted for all pairs tested. "
        + reasons(tests),
    )  # fmt: skip
    if table is None or reference[0] != PAPERS_BEST:
        return table
    return table.with_block(_published_tests(study, held))


def _published_tests(study: Study, portfolios: Sequence[str]) -> Block | None:
    figures = {name: published("memory", f"p_seqlat_better_{name}") for name in portfolios}
    first = next((found for found in figures.values() if found), None)
    if first is None:
        return None
    rows = []
    for model in first.models:
        if not any(same_model(family, model) for family in study.families):
            continue
        cells = []
        for name in portfolios:
            found = figures[name]
            cells += [
                Cell(ABSENT),
                Cell(found.text(model, 6) if found else ABSENT),
                Cell(ABSENT),
                Cell(ABSENT),
            ]
        rows.append(Row((model,), tuple(cells)))
    return Block(f"{first.title}, K = 6", tuple(rows), published=True) if rows else None


def against(tests: pl.DataFrame, reference: Model) -> pl.DataFrame:
    """Tests of a pair table that hold the reference model, as reference minus the other model.

    Returns
    -------
    DataFrame
        `MODEL` of the other, the columns of ``tests``, ``difference`` from the reference's side, and
        ``p_reference_better`` (one-sided).
    """
    first = (pl.col("family_a") == reference[0]) & (pl.col("factors_a") == reference[1])
    second = (pl.col("family_b") == reference[0]) & (pl.col("factors_b") == reference[1])
    better = pl.col("p_a_better")
    return tests.filter(first | second).with_columns(
        family=pl.when(first).then("family_b").otherwise("family_a"),
        number_of_factors=pl.when(first).then("factors_b").otherwise("factors_a"),
        difference=pl.when(first).then("difference").otherwise(-pl.col("difference")),
        p_reference_better=pl.when(first).then(better).otherwise(1 - better),
    )


def correlation_table(shown: Shown, inference: InferenceTables, weights: str, portfolio: str) -> Table | None:
    """*memory*, figure 6: Spearman correlations of strategy returns."""
    pairs = inference.rank_correlations.filter(weights=weights, portfolio=portfolio)
    models = shown.models(pairs.select(family="family_a", number_of_factors="factors_a"))
    if len(models) < 2:
        return None
    values = {(a, ka, b, kb): c for a, ka, b, kb, c in pairs.select(
        "family_a", "factors_a", "family_b", "factors_b", "correlation"
    ).iter_rows()}  # fmt: skip
    rows = []
    for a in models:
        found = [values.get((*a, *b)) for b in models]
        cells = tuple(Cell(number(c, 2), shade=c if finite(c) else None) for c in found)
        rows.append(Row((shown.name(*a),), cells))
    return Table(
        f"{shown.slug}correlations_{portfolio}_{weights}",
        f"Rank correlations of returns, {PORTFOLIOS[portfolio].lower()}, {weights} weights{shown.where}",
        "Spearman, before costs", tuple(shown.name(*b) for b in models), (Block("", tuple(rows)),),
        source=TESTS_ASSET,
    )  # fmt: skip


def joint_alpha_table(shown: Shown, inference: InferenceTables, weights: str) -> Table | None:
    """Gibbons, Ross and Shanken: do known factors price the model's portfolios?"""
    joint = inference.joint_alphas.filter(weights=weights)
    if joint["p_value"].null_count() == len(joint):
        return None
    held = joint.filter(pl.col("p_value").is_not_null())["factor_model"].unique().to_list()
    wide = joint.pivot(
        "factor_model", index=list(MODEL), values=["statistic", "p_value"], maintain_order=True
    )
    columns: list[Column] = []
    for model, factors in FACTOR_MODELS.items():
        if factors and model in held:
            columns += [(model, plain_number(f"statistic_{model}", 2)), ("p", p_value(f"p_value_{model}"))]
    return model_table(
        shown, f"joint_alphas_{weights}", f"Joint test of the alphas of all portfolios, {weights} weights",
        [("", wide)], columns, unit="F statistic",
        note="Gibbons, Ross and Shanken (1989), before costs. A small p: the factors leave something of the "
        "model's portfolios unexplained. " + reasons(shown.rows(joint)),
        source=TESTS_ASSET,
    )  # fmt: skip
