"""The store of fitted windows: one key for one set of inputs, whole entries only, trained once."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seqpricing_core import code_version as code
from seqpricing_core import fitted_store
from seqpricing_core.fitted_store import FittedStore, fit_inputs, fit_key
from seqpricing_core.locks import exclusive, is_held, owner_of
from seqpricing_core.models.configs import CA1, IPCA, Grid
from seqpricing_core.models.family import fit_family
from seqpricing_core.pipeline import run_study
from seqpricing_core.storage import frame_to_bytes
from seqpricing_core.study import Training

ROOT = Path(__file__).parents[2]
NETWORK = CA1(grid=Grid(l1=(0.001,), learning_rate=(0.01,), beta_hidden=((4,),)))
SHORT = Training(max_epochs=2, batch_months=12)


@pytest.fixture
def counted(monkeypatch):
    """The real `fit_family`, and how often it was called."""
    calls = []

    def fit(*arguments):
        calls.append(arguments[0].family)
        return fit_family(*arguments)

    monkeypatch.setattr(fitted_store, "fit_family", fit)
    return calls


@pytest.fixture
def samples(make_arrays):
    return make_arrays().samples


def test_the_second_fit_is_read_and_is_the_first_to_the_byte(tmp_path, counted, samples):
    store = FittedStore(tmp_path)
    first = store.fit(NETWORK, (1, 2), samples, SHORT)
    again = FittedStore(tmp_path).fit(NETWORK, (1, 2), samples, SHORT)
    assert (first.reused, again.reused, counted) == (False, True, ["ca1"])
    assert again.fitted.to_bytes() == first.fitted.to_bytes()
    assert again.fitted.to_bytes() == fit_family(NETWORK, (1, 2), samples, SHORT).to_bytes()
    assert again.seconds == first.seconds > 0
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".json", ".safetensors"]


def restated(samples, part, field, index=3):
    """The samples with one number changed."""
    sample = getattr(samples, part)
    owner = sample.managed if field == "x" else sample.panel
    values = getattr(owner, field).copy()
    values.flat[index] += 1e-3 if values.dtype.kind == "f" else 1
    changed = dataclasses.replace(owner, **{field: values})
    sample = dataclasses.replace(sample, **{"managed" if field == "x" else "panel": changed})
    return dataclasses.replace(samples, **{part: sample})


def test_whatever_decides_a_fit_changes_its_key(samples):
    """One change at a time: each gives a key of its own, and no change gives the same one."""
    before = fit_family(IPCA(), (1,), samples, SHORT)
    keys = [
        fit_key(fit_inputs(*arguments))
        for arguments in (
            (NETWORK, (1, 2), samples, SHORT),
            (NETWORK, (1, 2), samples, SHORT, before),
            (NETWORK, (1,), samples, SHORT),
            (NETWORK, (2, 1), samples, SHORT),
            (CA1(grid=NETWORK.grid.model_copy(update={"l1": (0.002,)})), (1, 2), samples, SHORT),
            (NETWORK, (1, 2), samples, SHORT.model_copy(update={"seeds": (2,)})),
            (NETWORK, (1, 2), samples, SHORT.model_copy(update={"patience": 3})),
            (NETWORK, (1, 2), restated(samples, "train", "excess_return"), SHORT),
            (NETWORK, (1, 2), restated(samples, "train", "characteristics"), SHORT),
            (NETWORK, (1, 2), restated(samples, "validation", "excess_return"), SHORT),
            (NETWORK, (1, 2), restated(samples, "validation", "x"), SHORT),
            (NETWORK, (1, 2), restated(samples, "train", "asset_id"), SHORT),
        )
    ]
    assert len(set(keys)) == len(keys)
    assert fit_key(fit_inputs(NETWORK, (1, 2), samples, SHORT)) == keys[0]


def test_the_code_that_matters(monkeypatch, tmp_path):
    """A family's fingerprint follows what it imports, and nothing that it does not."""
    files = {family: set(code.sources_of(f"models.{family}")) for family in ("ipca", "sequence_factor")}
    assert {"models/ipca.py", "panel/panel.py", "windows.py"} <= files["ipca"]
    assert not [file for file in files["ipca"] if file.startswith(("nn/", "training/"))]
    assert {"training/engine.py", "nn/cells.py", "models/sequence_factor.py"} <= files["sequence_factor"]
    assert "models/ipca.py" not in files["sequence_factor"]
    # Against Python itself: what a fresh interpreter has loaded after importing the module.
    listing = (
        "import sys, seqpricing_core.models.sequence_factor\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.startswith('seqpricing_core.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {str(Path(file).relative_to(ROOT / "seqpricing_core")) for file in done.stdout.split()}
    settings = {f"{name.replace('.', '/')}.py" for name in code.SETTINGS_MODULES}
    packages = {file for file in loaded if file.endswith("__init__.py")}
    assert loaded - packages - settings <= files["sequence_factor"]


@pytest.mark.parametrize("damage", ["half", "record", "none"])
def test_a_damaged_entry_is_trained_again(tmp_path, counted, samples, damage):
    store = FittedStore(tmp_path)
    first = store.fit(IPCA(), (1,), samples, SHORT)
    (data,) = tmp_path.rglob("*.safetensors")
    if damage == "half":
        data.write_bytes(data.read_bytes()[:-10])
    elif damage == "record":
        data.with_suffix(".json").write_text("{")
    again = store.fit(IPCA(), (1,), samples, SHORT)
    assert again.reused == (damage == "none")
    assert again.fitted.to_bytes() == first.fitted.to_bytes()
    assert store.fit(IPCA(), (1,), samples, SHORT).reused


def test_a_failed_fit_leaves_nothing_and_frees_the_lock(tmp_path, monkeypatch, samples):
    def fails(*arguments):
        raise FloatingPointError

    monkeypatch.setattr(fitted_store, "fit_family", fails)
    with pytest.raises(FloatingPointError):
        FittedStore(tmp_path).fit(IPCA(), (1,), samples, SHORT)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_study_run_twice_trains_once(make_study, tmp_path, counted):
    """The plain pipeline with a store; a restated last year is in no window but the last."""
    study = make_study(models={"ipca": {}})
    store = FittedStore(tmp_path / "fitted")
    results = [run_study(study, tmp_path / "market", store) for _ in range(2)]
    assert counted == ["ipca"] * len(study.test_years)
    plain = run_study(study, tmp_path / "market")
    assert {frame_to_bytes(each.predictions) for each in results} == {frame_to_bytes(plain.predictions)}
    record = store.record(store.keys()[0])
    assert record["family"] == "ipca"
    assert set(record["inputs"]) >= {"samples", "training", "code", "libraries", "previous"}


FITS = """
import sys, time, pathlib
import numpy as np
from seqpricing_core import fitted_store
from seqpricing_core.models.configs import IPCA
from seqpricing_core.study import Training

class Fitted:
    config, window = IPCA(), type("Window", (), {"test_year": 2004})()
    def to_bytes(self): return b"x" * 100_000

def fit(*arguments):
    with open(sys.argv[1] + "/trained", "a") as file:
        file.write("once\\n")
    time.sleep(float(sys.argv[2]))
    return Fitted()

fitted_store.fit_family = fit
fitted_store.fit_inputs = lambda *arguments: {"same": "window"}
fitted_store.FittedFamily = type("FittedFamily", (), {"from_files": staticmethod(lambda paths: Fitted())})
print("ready", flush=True)
sys.stdin.readline()
fit = fitted_store.FittedStore(pathlib.Path(sys.argv[1])).fit(IPCA(), (1,), None, Training())
print("reused" if fit.reused else "trained", flush=True)
"""
"""Asks the store for one window whose training takes a while; only `fit_family` is ours."""


def start(folder, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", FITS, str(folder), str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def test_processes_that_ask_at_once_train_once(tmp_path):
    """Three at once: one trains, two get what it made."""
    processes = [start(tmp_path, 1.0) for _ in range(3)]
    for process in processes:
        go(process)
    said = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert said == ["reused", "reused", "trained"]
    assert (tmp_path / "trained").read_text() == "once\n"
    assert not list(tmp_path.rglob("*.lock"))


def test_the_lock_of_a_killed_process_holds_nobody(tmp_path):
    """SIGKILL in the middle of training: nothing is kept, and the next one trains at once."""
    killed, next_one = start(tmp_path, 600), start(tmp_path, 0)
    go(killed)
    deadline = time.monotonic() + 30
    while not (locks := list(tmp_path.rglob("*.lock"))) or owner_of(locks[0]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (lock,) = locks
    owner = owner_of(lock)
    assert owner.pid == killed.pid
    assert owner.alive
    assert is_held(lock)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert lock.exists()
    assert not owner.alive
    assert not is_held(lock)
    go(next_one)
    assert next_one.communicate(timeout=60)[0] == "trained\n"
    assert not lock.exists()


def test_a_number_given_to_a_later_process_is_another_process(tmp_path):
    lock = tmp_path / "x.lock"
    with exclusive(lock):
        mine = owner_of(lock)
    assert mine.alive
    assert not dataclasses.replace(mine, started=mine.started - 3600).alive
    assert dataclasses.replace(mine, host="elsewhere").alive  # cannot be seen from here
    lock.write_text(json.dumps({"pid": 1}))
    assert owner_of(lock) is None


def test_arrays_count_by_value_type_and_shape():
    one = np.arange(6.0)
    several = [one, one.reshape(2, 3), one.astype(np.float32), one + 1e-12, np.arange(6)]
    fingerprints = [fitted_store._fingerprint_of(array) for array in several]
    assert len(set(fingerprints)) == len(several)
    assert fitted_store._fingerprint_of(one.reshape(2, 3).T.copy().T) == fingerprints[1]
    with pytest.raises(TypeError):
        fitted_store._fingerprint_of(object())
