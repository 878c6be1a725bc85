"""The first law for macro series: what month t brought, or published, changes no forecast of t.

The whole pipeline runs twice, the second time with other values of every month that was not yet published at
the end of t-1. Expected returns up to t must be the same bit for bit; with a lag shorter than that of the
data they must not be.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqpricing_core.pipeline import run_study

GAN = {
    "sdf_hidden": [8], "sdf_states": 3, "loading_hidden": [16], "conditional_states": 3,
    "minimum_epochs": 0, "conditional_epochs": 2, "learning_rate": 0.02,
}  # fmt: skip
MONTHS = [f"{year}-{month:02d}" for year in range(1999, 2006) for month in range(1, 13)]


@pytest.fixture(scope="module")
def run(make_study, tmp_path_factory, small, write_tables):
    """Predictions of the small study with macro series of which those from a month on may be others."""
    source = write_tables(tmp_path_factory.mktemp("market"), small.tables)

    def predict(changed_from=None, *, lag=1):
        values = np.random.default_rng(1).normal(size=(84, 2)).cumsum(axis=0)
        if changed_from:
            later = np.array(MONTHS) >= changed_from
            values[later] = 50 + 10 * np.random.default_rng(2).normal(size=(later.sum(), 2))
        file = tmp_path_factory.mktemp("macro") / "macro.csv"
        pl.DataFrame({"month": MONTHS, "a": values[:, 0], "b": values[:, 1]}).write_csv(file)
        study = make_study(
            source=source, models={"gan": GAN}, number_of_factors=[2],
            macro={"file": str(file), "publication_lag_months": lag, "transforms": {"b": 2}},
        )  # fmt: skip
        return run_study(study, file.parent).predictions.with_columns(
            pl.col("month").dt.strftime("%Y-%m").alias("t")
        )

    return predict


@pytest.fixture(scope="module")
def honest(run):
    return run()


def changed(before, after, column="expected_return"):
    """Share of stocks with another value, by month."""
    both = before.join(after, on=["month", "asset_id", "number_of_factors"], suffix="_after")
    assert len(both) == len(before) == len(after)
    other = both[column].to_numpy().view(np.int64) != both[f"{column}_after"].to_numpy().view(np.int64)
    shares = both.select("t", other=pl.Series(other)).group_by("t").agg(pl.col("other").mean())
    return dict(shares.iter_rows())


@pytest.mark.parametrize(
    ("t", "unpublished"),
    [("2004-01", "2003-12"), ("2004-06", "2004-05"), ("2005-01", "2004-12"), ("2005-09", "2005-08")],
)
def test_what_was_not_published_changes_no_forecast(run, honest, t, unpublished):
    """With a lag of a month the figures of t-1 come out during t."""
    shares = changed(honest, run(unpublished))
    assert {share for month, share in shares.items() if month <= t} == {0.0}
    later = [share for month, share in shares.items() if month > t]
    # Not all: of a stock that no unit responds to, the loadings are those of the bias.
    assert min(later) > 0.8, "the forecasts after it are others, or the test would show nothing"


def test_a_lag_shorter_than_that_of_the_data_is_caught(run):
    """Figures used in the month in which they are only being collected."""
    shares = changed(run(lag=0), run("2004-05", lag=0))
    assert shares["2004-05"] == 0
    assert shares["2004-06"] > 0.8


def test_models_without_macro_are_blind_to_it(make_study, small, tmp_path):
    """IPCA in a study with macro series: the same bits as without."""
    pl.DataFrame({"month": MONTHS, "a": np.arange(84.0)}).write_csv(tmp_path / "macro.csv")
    models = {"models": {"ipca": {}}}
    plain, given = (
        run_study(make_study(**models, **section), tmp_path / name).predictions
        for name, section in (("a", {}), ("b", {"macro": {"file": str(tmp_path / "macro.csv")}}))
    )
    assert plain.equals(given)
