"""Characteristic importance: what a fitted model loses when one characteristic is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from seqpricing_core.models.factor_model import FittedForecaster, FittedModel, SequenceForecaster
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.panel import Float32, Float64, MonthKnown, Sample

Method: TypeAlias = Literal["zero", "permutation"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

CHUNK_BYTES: Final = 2**22
"""Most that the stacked copies of Z of one month may take, in single precision; one copy at the least.
Few stocks: all characteristics in one call. Thousands: what stays in a cache is faster than what does not."""

KEYS: Final = ("family", "number_of_factors", "measure", "method", "characteristic")
SUMS: Final = ("squared_error", "baseline_squared_error", "sum_of_squares")


@dataclass(frozen=True)
class _Scored:
    """The stocks of one month that have a return, and f_t of every member of an ensemble, held fixed."""

    known: MonthKnown
    excess_return: Float64
    """(N,)"""
    members: tuple[tuple[FittedModel, Float64 | None], ...]
    """Each with its f_t (K,); a forecaster has none."""

    def returns_of(self, known: MonthKnown) -> Float64:
        """Returns if characteristics were those of ``known``, averaged over the ensemble."""
        each = [_returns(member, known, factors) for member, factors in self.members]
        average: Float64 = np.mean(each, axis=0)
        return average


def compute_importance_sums(
    fitted: FittedFamily,
    test: Sample,
    *,
    methods: Sequence[Method] = METHODS,
    seed: int = 0,
    chunk_bytes: int = CHUNK_BYTES,
) -> pl.DataFrame:
    """Squared errors over the test year with each characteristic taken away in turn, for every K.

    Gu, Kelly, Xiu (2021): one characteristic is set to zero, estimates and factors f_t stay as they are,
    and the drop in total R2 is its importance. ``permutation`` shuffles it among the stocks of the month
    instead, which leaves its distribution as it was. A forecaster has no factors: there it is the drop in
    predictive R2. A model that reads sequences loses the characteristic in every month that it reads, and
    it is shuffled within each of them. They measure within training samples; we measure in the test year, as
    every other score.

    R2 pools over years only through its sums, so sums are what is kept: see `pool_importance`.
    Where a characteristic is the same for all stocks of a month (missing for everybody, it is 0), nothing is
    taken away, and its error is the baseline's to the last bit.

    Parameters
    ----------
    fitted, test
        Fitted window, and the panel of its test year with x_t of the look-back.
    methods
        ``zero``, ``permutation`` or both.
    seed
        Of the permutations. Each (month, characteristic) has its own, whatever else is computed.
    chunk_bytes
        Copies of Z are stacked up to this size and handed to the model at once. Models are functions of one
        stock's z (`FactorModel`), so that a stock's return does not depend on the copies around it.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``measure`` (``total_r2`` or ``predictive_r2``), ``method``,
        ``characteristic``, ``year``, then sums over stock-months: ``squared_error`` without the
        characteristic, ``baseline_squared_error`` with all of them, ``sum_of_squares`` of returns (decimal).
    """
    years = test.panel.months.astype("datetime64[Y]").astype(int) + 1970
    parts = []
    for factors, members in fitted.models.items():
        scored = [_score(members, test, t) for t in range(len(test))]
        measure = "predictive_r2" if isinstance(members[0], FittedForecaster) else "total_r2"
        for method in methods:
            errors = np.stack([_squared_errors(month, method, seed, chunk_bytes) for month in scored])
            squares = np.array([(month.excess_return**2).sum() for month in scored])
            parts += [
                pl.DataFrame(
                    {
                        "characteristic": test.panel.characteristic_names,
                        "year": int(year),
                        "squared_error": _sum(errors[years == year])[1:],
                        "baseline_squared_error": _sum(errors[years == year])[0],
                        "sum_of_squares": squares[years == year].sum(),
                    }
                ).select(
                    pl.lit(fitted.config.family).alias("family"),
                    pl.lit(factors, dtype=pl.Int32).alias("number_of_factors"),
                    pl.lit(measure).alias("measure"),
                    pl.lit(method).alias("method"),
                    pl.col("characteristic"),
                    pl.col("year").cast(pl.Int32),
                    *SUMS,
                )
                for year in np.unique(years)
            ]
    return pl.concat(parts)


def pool_importance(sums: pl.DataFrame) -> pl.DataFrame:
    """Importance over all years of the table, per model, method and characteristic.

    drop = (squared error without the characteristic - squared error with all) / sum of squared returns: R2
    lost. ``importance`` is the drop, floored at zero, over the sum of all such drops of the model: it sums
    to one, or is zero throughout where no characteristic helps. ``drop`` keeps its sign: below zero, the
    model does better without the characteristic.

    Returns
    -------
    DataFrame
        `KEYS`, ``r2`` with all characteristics (decimal), ``drop``, ``importance``, in the order of ``sums``.
    """
    error, baseline, squares = (pl.col(name) for name in SUMS)
    floored = pl.col("drop").clip(lower_bound=0.0)
    total = floored.sum().over(KEYS[:-1])
    return (
        sums.group_by(KEYS, maintain_order=True)
        .agg(pl.col(SUMS).sum())
        .select(*KEYS, r2=1 - baseline / squares, drop=(error - baseline) / squares)
        .with_columns(importance=pl.when(total > 0).then(floored / total).otherwise(0.0))
    )


def _score(members: tuple[FittedModel, ...], test: Sample, t: int) -> _Scored:
    known, outcome = test.known(t), test.outcome(t)
    there = ~np.isnan(outcome.excess_return)
    factors = [
        None if isinstance(member, FittedForecaster) else member.model.latent_factors(known, outcome)
        for member in members
    ]
    held = replace(
        known,
        asset_id=known.asset_id[there],
        characteristics=known.characteristics[there],
        market_equity=known.market_equity[there],
    )
    return _Scored(held, outcome.excess_return[there], tuple(zip(members, factors, strict=True)))


def _returns(member: FittedModel, known: MonthKnown, factors: Float64 | None) -> Float64:
    if isinstance(member, FittedForecaster):
        return member.model.expected_returns(known)
    assert factors is not None
    return member.model.returns_given(known, factors)


def _squared_errors(month: _Scored, method: Method, seed: int, chunk_bytes: int) -> Float64:
    """(1 + P,) of one month: with all characteristics, then without each."""
    z = month.known.characteristics
    baseline = ((month.excess_return - month.returns_of(month.known)) ** 2).sum()
    errors = np.full(1 + z.shape[1], baseline)
    changed = _changed_columns(month.known, method, seed)
    if any(isinstance(member.model, SequenceForecaster) for member, _ in month.members):
        for column in range(z.shape[1]):
            if (known := _without(month.known, column, method, seed)) is not month.known:
                errors[1 + column] = ((month.excess_return - month.returns_of(known)) ** 2).sum()
        return errors
    for chunk in _chunks(list(changed), max(1, chunk_bytes // max(z.nbytes, 1))):
        copies = np.repeat(z[None], len(chunk), axis=0)
        for copy, column in zip(copies, chunk, strict=True):
            copy[:, column] = changed[column]
        returns = month.returns_of(_stacked(month.known, copies)).reshape(len(chunk), len(z))
        errors[1 + np.array(chunk)] = ((month.excess_return - returns) ** 2).sum(axis=1)
    return errors


def _changed_columns(known: MonthKnown, method: Method, seed: int) -> Mapping[int, Float32]:
    """Column -> its values once taken away; without the columns that stay as they are."""
    z = known.characteristics
    changed = {}
    for column in range(z.shape[1]):
        values = _changed(z[:, column], known.month, column, method, seed)
        if not np.array_equal(values, z[:, column]):
            changed[column] = values
    return changed


def _changed(values: Float32, month: np.datetime64, column: int, method: Method, seed: int) -> Float32:
    """(N,) one characteristic of a month, taken away."""
    if method == "zero":
        return np.zeros_like(values)
    random = np.random.default_rng([seed, _months_since_0000(month), column])
    return values[random.permutation(len(values))]


def _without(known: MonthKnown, column: int, method: Method, seed: int) -> MonthKnown:
    """One characteristic taken away from this month and all before it; itself if that changes nothing."""
    z = known.characteristics.copy()
    z[:, column] = _changed(z[:, column], known.month, column, method, seed)
    past = known.past
    if past is not None:
        before = past.characteristics.copy()
        for s, month in enumerate(past.months):
            rows = slice(past.offsets[s], past.offsets[s + 1])
            before[rows, column] = _changed(before[rows, column], month, column, method, seed)
        past = replace(past, characteristics=before)
    same = np.array_equal(z, known.characteristics) and (
        past is None or known.past is None or np.array_equal(past.characteristics, known.past.characteristics)
    )
    return known if same else replace(known, characteristics=z, past=past)


def _months_since_0000(month: np.datetime64) -> int:
    """A seed must not be negative."""
    return int((month - np.datetime64("0000-01", "M")).astype(int))


def _stacked(known: MonthKnown, copies: Float32) -> MonthKnown:
    """C copies (C, N, P) of the month's stocks below each other."""
    count = len(copies)
    return replace(
        known,
        asset_id=np.tile(known.asset_id, count),
        characteristics=copies.reshape(-1, copies.shape[2]),
        market_equity=np.tile(known.market_equity, count),
    )


def _chunks(columns: list[int], size: int) -> Iterator[list[int]]:
    yield from (columns[start : start + size] for start in range(0, len(columns), size))


def _sum(errors: Float64) -> Float64:
    """Over months, one after the other: equal columns have equal sums, bit for bit."""
    total = np.zeros(errors.shape[1])
    for month in errors:
        total += month
    return total
