"""Training record: which candidate won in each window, when it stopped, how its losses went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from seqpricing_core.models.training_record import TrainingRecord
from seqpricing_core.report.plots import Losses
from seqpricing_core.report.shown import title_of
from seqpricing_core.report.table import ABSENT, Block, Cell, Row, Table, factors_text, finite, number

WORDS: Final = {"l1": "L1 penalty", "learning_rate": "learning rate", "beta_hidden": "hidden layers"}
LABELS: Final = ("Test year", "K", "Seed")


def training_table(family: str, records: Sequence[TrainingRecord]) -> Table | None:
    """One row per window, K and seed: the winner, among how many, epochs, validation loss."""
    rows = tuple(
        Row((str(one.test_year), factors_text(one.factors), _seed(one)), tuple(map(Cell, _cells(one.record))))
        for one in records
        if one.family == family
    )
    if not rows:
        return None
    return Table(
        f"{family}_training", f"Training record of {title_of(family)}", "",
        ("What won", "Candidates", "Epochs", "Best epoch", "Validation loss"), (Block("", rows),), LABELS,
        note="The candidate with the lowest validation loss wins, with the weights of its best epoch. Losses "
        "are in the family's own units (of networks, squared percent).",
        source=f"models/{family}/{family}_models",
    )  # fmt: skip


def training_summary(families: Sequence[str], records: Sequence[TrainingRecord]) -> Table | None:
    """One row per family: windows, fits, candidates, epochs, and fits at the edge."""
    rows = []
    for family in families:
        of_family = [one for one in records if one.family == family]
        if not of_family:
            continue
        best = [one.record["best_epoch"] for one in of_family if one.record.get("best_epoch") is not None]
        tried = [len(one.record.get("candidates", ())) or 1 for one in of_family]
        failed = sum(one.record.get("converged") is False for one in of_family)
        values = (
            str(len({one.test_year for one in of_family})), str(len(of_family)), _span(tried), _span(best),
            str(failed) if any("converged" in one.record for one in of_family) else ABSENT,
        )  # fmt: skip
        rows.append(Row((title_of(family),), tuple(map(Cell, values))))
    if not rows:
        return None
    return Table(
        "training", "Training", "", ("Windows", "Fits", "Candidates", "Best epoch", "Not converged"),
        (Block("", tuple(rows)),),
        note="Fits: of every window, K and seed. Ranges are lowest to highest. The page of each model has "
        "every window.",
        source="models",
    )  # fmt: skip


def losses_by_year(family: str, records: Sequence[TrainingRecord]) -> dict[int, dict[int, Losses]]:
    """Test year -> K -> losses of the first seed, for `losses_plot`; without fits that have none."""
    found: dict[int, dict[int, Losses]] = {}
    for one in records:
        if one.family == family and one.seat == 0 and one.record.get("train_loss"):
            losses = (one.record["train_loss"], one.record["validation_loss"], one.record["best_epoch"])
            found.setdefault(one.test_year, {})[one.factors] = losses
    return found


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    losses = record.get("validation_loss")
    lowest: Any = min(losses, default=None) if isinstance(losses, list) else losses
    return (
        _winner(record),
        str(len(record["candidates"])) if record.get("candidates") else ABSENT,
        str(len(losses)) if isinstance(losses, list) else ABSENT,
        str(record["best_epoch"]) if record.get("best_epoch") is not None else ABSENT,
        number(lowest, 4) if finite(lowest) else ABSENT,
    )


def _winner(record: Mapping[str, Any]) -> str:
    if winner := record.get("winner"):
        return ", ".join(f"{WORDS.get(key, key.replace('_', ' '))} {_value(v)}" for key, v in winner.items())
    if "iterations" in record:
        ended = "converged" if record.get("converged") else "not converged"
        return f"{ended} after {record['iterations']} iterations"
    return "closed form" if "coefficients" in record else ABSENT


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _seed(one: TrainingRecord) -> str:
    return str(one.record.get("seed", ABSENT))


def _span(values: Sequence[int]) -> str:
    if not values:
        return ABSENT
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"
