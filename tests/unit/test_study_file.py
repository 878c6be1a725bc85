"""The study file: a wrong key or value names the file, the key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from seqpricing_core.errors import InputError
from seqpricing_core.study import Study, load_study

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def load(tmp_path, settings):
    """Writes the small study with sections replaced, and loads it."""

    def write_and_load(**changes) -> Study:
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(**changes), sort_keys=False), encoding="utf-8")
        return load_study(file)

    return write_and_load


def grid(**changes) -> dict:
    return {"ca2": {"grid": {"l1": [0.1], "learning_rate": [0.01], "beta_hidden": [[8]]} | changes}}


class TestGoodFiles:
    @pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda file: file.stem)
    def test_studies_of_the_repository_load(self, file):
        study = load_study(file)
        assert study.name == file.stem
        assert len(study.test_years) > 0

    def test_says_what_the_file_says(self, load):
        """The file is the oracle: every section arrives where it belongs."""
        study = load()
        assert study.families == ("ipca", "ca2", "seqlat")
        assert study.models[2].lookback == 6
        assert study.models[2].grid.beta_hidden == ((8,),)
        assert list(study.test_years) == [2004, 2005]
        assert study.training.seeds == (1,)
        assert study.portfolios.weights == ("equal", "value")
        assert study.acronyms == study.characteristics

    @pytest.mark.parametrize(
        ("lookback", "years"), [(1, 0), (2, 1), (12, 1), (13, 1), (14, 2), (25, 2), (26, 3)]
    )
    def test_years_of_look_back(self, load, lookback, years):
        """By counting: January of the test year needs x of the ``lookback - 1`` months before it."""
        assert load(models={"ipca": {}, "seqlat": {"lookback": lookback}}).lookback_years == years

    def test_an_open_sample_ends_with_last_year(self, load):
        study = load(sample={"first_month": "2000-01"})
        assert study.test_years.start == 2004
        assert study.sample.last_year >= 2025

    def test_paths_are_relative_to_the_file(self, tmp_path, settings, monkeypatch):
        """Whatever the working directory is; an absolute path stays as it is."""
        (tmp_path / "studies").mkdir()
        (tmp_path / "elsewhere").mkdir()
        file = tmp_path / "studies" / "own.yaml"
        source = {
            "kind": "public_files", "prices": "../data/prices.parquet", "statements": "statements.csv",
            "factors": "/far/away.parquet", "index_members": "sub/members.csv",
        }  # fmt: skip
        file.write_text(yaml.safe_dump(settings(source=source), sort_keys=False), encoding="utf-8")
        monkeypatch.chdir(tmp_path / "elsewhere")
        study = load_study(Path("../studies/own.yaml"))
        assert study.source.prices == tmp_path / "data" / "prices.parquet"
        assert study.source.statements == tmp_path / "studies" / "statements.csv"
        assert study.source.factors == Path("/far/away.parquet")
        assert study.source.index_members == tmp_path / "studies" / "sub" / "members.csv"

    def test_frozen(self, load):
        with pytest.raises(ValueError, match="frozen"):
            load().name = "other"


class TestTypos:
    """Each error names the file, the key as written, and the likely one."""

    @pytest.mark.parametrize(
        ("changes", "key", "hint"),
        [
            ({"sampel": {}}, "sampel", "did you mean 'sample'?"),
            ({"source": {"kind": "simulated", "stoks": 50}}, "stoks", "did you mean 'stocks'?"),
            (
                {"source": {"kind": "public_files", "prices": "a.csv", "statements": "b.csv",
                            "factors": "c.csv", "reporting_lag": 4}},
                "reporting_lag", "did you mean 'reporting_lag_months'?",
            ),
            ({"models": {"seqlat": {"lookbak": 6}}}, "lookbak", "did you mean 'lookback'?"),
            ({"models": {"ipca": {"tolerence": 0.1}}}, "tolerence", "did you mean 'tolerance'?"),
            ({"models": grid(l_1=[0.1])}, "l_1", "did you mean 'l1'?"),
            ({"training": {"max_epoch": 3}}, "training.max_epoch", "did you mean 'max_epochs'?"),
            ({"universe": {"zzz": 3}}, "universe.zzz", "one of common_shares_only, exchanges"),
        ],
    )  # fmt: skip
    def test_names_the_key_and_the_likely_one(self, load, tmp_path, changes, key, hint):
        with pytest.raises(InputError) as caught:
            load(**changes)
        error = caught.value
        assert f"unknown key '{key.split('.')[-1]}'" in error.what
        assert str(tmp_path / "own.yaml") in error.where
        assert key in error.where
        assert hint in error.expected

    def test_a_misspelt_characteristic(self, load):
        with pytest.raises(InputError) as caught:
            load(characteristics=["mvel1", "mom12"])
        error = caught.value
        assert "key characteristics" in error.where
        assert "'mom12'" in error.expected
        assert "did you mean 'mom_12'?" in error.expected

    def test_all_typos_at_once(self, load):
        """Two mistakes, one error that names both: no second round for the second."""
        with pytest.raises(InputError) as caught:
            load(titel="x", portfolios={"quantils": 3})
        assert "'titel'" in caught.value.what
        assert "'quantils'" in caught.value.what
        assert "portfolios.quantils" in caught.value.where

    @pytest.mark.parametrize(
        ("changes", "key", "what"),
        [
            ({"source": {"kind": "simulated", "stoks": 50}}, "key source.stoks", "stoks"),
            ({"models": {"ipca": {"tolerence": 0.1}}}, "key models.ipca.tolerence", "tolerence"),
            ({"models": grid(l_1=[0.1])}, "key models.ca2.grid.l_1", "l_1"),
        ],
    )
    def test_one_typo_is_one_problem_at_the_key_of_the_file(self, load, tmp_path, changes, key, what):
        """The key as one would search for it in the file: no index, no tag of a union."""
        with pytest.raises(InputError) as caught:
            load(**changes)
        assert caught.value.what == f"unknown key '{what}' in the study file"
        assert caught.value.where == f"{tmp_path / 'own.yaml'}, {key}"


class TestValues:
    @pytest.mark.parametrize(
        ("changes", "key", "expected"),
        [
            ({"windows": {"train_years": -1}}, "windows.train_years", "greater than or equal to 1"),
            ({"windows": {"train_years": "ten"}}, "windows.train_years", "integer"),
            ({"sample": {"first_month": "2000-13"}}, "sample.first_month", "a month such as 1996-01"),
            ({"sample": {"first_month": "2000-03"}}, "sample", "January"),
            (
                {"sample": {"first_month": "2000-01", "last_month": "1999-12"}},
                "sample", "last_month 1999-12 before first_month 2000-01",
            ),
            (
                {"source": {"kind": "simulated", "loadings": "cubic"}},
                "loadings", "'linear', 'nonlinear' or 'path'",
            ),
            ({"source": {"kind": "simulated", "daily": True}}, "source", "needs detail: complete"),
            ({"source": {"kind": "simulated", "filing": "lagged"}}, "source", "needs detail: complete"),
            ({"source": {"kind": "simulated", "stocks": 5}}, "stocks", "greater than or equal to 20"),
            ({"portfolios": {"quantiles": 1}}, "portfolios.quantiles", "greater than or equal to 2"),
            ({"portfolios": {"weights": ["equl"]}}, "portfolios.weights.0", "'equal' or 'value'"),
            ({"training": {"seeds": [1, 1]}}, "training.seeds", "seeds that differ"),
            ({"training": {"seeds": []}}, "training.seeds", "at least 1 item"),
            ({"number_of_factors": [0]}, "number_of_factors.0", "greater than or equal to 1"),
            ({"models": grid(learning_rate=[0])}, "learning_rate.0", "greater than 0"),
            ({"models": grid(l1=[])}, "grid.l1", "at least 1 item"),
            ({"costs": {"basis_points": -3}}, "costs.basis_points", "greater than or equal to 0"),
            ({"name": "Two Words"}, "name", "pattern"),
            ({"models": {}}, "models", "at least 1 item"),
        ],
    )  # fmt: skip
    def test_names_key_and_expectation(self, load, tmp_path, changes, key, expected):
        with pytest.raises(InputError) as caught:
            load(**changes)
        error = caught.value
        assert "wrong value" in error.what
        assert str(tmp_path / "own.yaml") in error.where
        assert key in error.where
        assert expected in error.expected

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"sample": None}, "sample"),
            ({"models": None}, "models"),
            ({"sample": {}}, "sample.first_month"),
            ({"models": {"ca2": {"grid": {"l1": [0.1], "learning_rate": [0.1]}}}}, "grid.beta_hidden"),
            (
                {"source": {"kind": "canonical_files", "stock_months": "a.csv", "factors": "c.csv"}},
                "statements",
            ),
        ],
    )
    def test_missing_key(self, load, changes, key):
        with pytest.raises(InputError) as caught:
            load(**changes)
        assert f"missing key '{key.split('.')[-1]}'" in caught.value.what
        assert key in caught.value.where

    @pytest.mark.parametrize(
        ("changes", "key", "choices"),
        [
            (
                {"source": {"kind": "simulatd"}},
                "source", ("'simulated'", "'public_files'", "'canonical_files'"),
            ),
            ({"source": {"stocks": 50}}, "source", ("'kind'",)),
            ({"models": {"seqlt": {}}}, "models", ("'ipca'", "'ca2'", "'seqlat'")),
            ({"models": [{"lookback": 6}]}, "models", ("'family'",)),
        ],
    )  # fmt: skip
    def test_discriminators_name_the_choices(self, load, changes, key, choices):
        with pytest.raises(InputError) as caught:
            load(**changes)
        assert key in caught.value.where
        assert all(choice in caught.value.expected for choice in choices)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"windows": {"train_years": 5, "validation_years": 1}}, "5 train + 1 validation + 1 test"),
            ({"windows": {"train_years": 3, "validation_years": 1, "first_test_year": 2003}}, "2003"),
            ({"windows": {"train_years": 3, "validation_years": 1, "first_test_year": 2006}}, "2006"),
        ],
    )
    def test_windows_that_do_not_fit(self, load, changes, reason):
        """By counting: six years hold windows of at most five and one; the first test year is 2004."""
        with pytest.raises(InputError) as caught:
            load(**changes)
        assert "room for one window" in caught.value.expected
        assert reason in caught.value.expected
        assert "2000-2005" in caught.value.expected

    def test_windows_that_just_fit(self, load):
        assert list(load(windows={"train_years": 4, "validation_years": 1}).test_years) == [2005]


class TestUnreadableFiles:
    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"name: [unclosed", "cannot be read"),
            (b"name: a\n\tb: c", "cannot be read"),
            (b"\xff\xfe\x00name", "cannot be read"),
            (b"", "holds no keys"),
            (b"# nothing but a comment\n", "holds no keys"),
            (b"- a\n- b\n", "holds no keys"),
        ],
    )
    def test_not_a_study(self, tmp_path, refuses, content, what):
        file = tmp_path / "own.yaml"
        file.write_bytes(content)
        refuses(lambda: load_study(file), what, str(file), "studies/demo.yaml")

    def test_missing(self, tmp_path, refuses):
        refuses(lambda: load_study(tmp_path / "none.yaml"), "cannot be read", "none.yaml")

    def test_a_folder(self, tmp_path, refuses):
        refuses(lambda: load_study(tmp_path), "cannot be read", str(tmp_path))


class TestWhatWouldFailLater:
    """Studies that could be read and would end in a traceback hours later, or mean something else."""

    @pytest.mark.parametrize(
        ("changes", "key", "expected"),
        [
            ({"models": {"ipca": 5}}, "key models", "options of ipca as a mapping"),
            ({"models": {"ipca": [1]}}, "key models", "options of ipca as a mapping"),
            ({"models": {"ipca": "fast"}}, "key models", "options of ipca as a mapping"),
            ({"models": {"ipca": {"family": "ca2"}}}, "key models", "without 'family'"),
            (
                {"models": [{"family": "ipca"}, {"family": "ipca", "max_iterations": 3}]},
                "key models", "each family once",
            ),
            ({"universe": {"require": ["mvell"]}}, "key universe.require", "did you mean 'mvel1'?"),
            ({"characteristics": ["mvel1", "bm", "bm"]}, "key characteristics", "each once"),
            ({"characteristics": []}, "key characteristics", "at least one"),
            ({"portfolios": {"weights": []}}, "key portfolios.weights", "at least 1 item"),
            ({"universe": {"minimum_history_months": 60}}, "key universe.minimum_history_months", "36"),
            (
                {"source": {"kind": "public_files", "reporting_lag_months": 0, "prices": "a.csv",
                            "statements": "b.csv", "factors": "c.csv"}},
                "key source.reporting_lag_months", "greater than or equal to 1",
            ),
            ({"number_of_factors": [1, 42]}, "the study as a whole", "41, not 42"),
            (
                {"number_of_factors": [4], "characteristics": ["mvel1", "bm"]},
                "the study as a whole", "3, not 4",
            ),
        ],
    )  # fmt: skip
    def test_is_refused_at_once(self, load, changes, key, expected):
        with pytest.raises(InputError) as caught:
            load(**changes)
        assert key in caught.value.where
        assert expected in caught.value.expected

    @pytest.mark.parametrize(
        "changes",
        [
            {"number_of_factors": [3], "characteristics": ["mvel1", "bm"]},
            {"universe": {"minimum_history_months": 36}},
            {"universe": {"require": []}},
        ],
    )
    def test_limits_themselves_are_allowed(self, load, changes):
        assert load(**changes).name == "small"

    def test_a_key_twice(self, tmp_path, settings):
        """YAML would keep the last of the two and say nothing."""
        file = tmp_path / "own.yaml"
        text = yaml.safe_dump(settings(), sort_keys=False) + "number_of_factors: [3]\n"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="'number_of_factors' stands twice") as caught:
            load_study(file)
        assert str(file) in caught.value.where
