"""How many windows train at once: what the machine has, whatever is asked of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

from seqpricing_core.models.family import FAMILIES
from seqpricing_core.study import Training

TRAINING = "training"
"""Fits on processors: one place for each `training.threads` of them."""
GPU = "gpu"
"""Fits on a GPU: one place per GPU."""


def pool_of(family: str, training: Training) -> str:
    """The pool in which a fit of ``family`` takes a place."""
    on_gpu = training.device == "cuda" or (training.device == "auto" and gpus() > 0)
    return GPU if on_gpu and FAMILIES[family].kind == "pytorch" else TRAINING


def pool_limits(training: Training) -> Mapping[str, int]:
    """Places of each pool on this machine; a fit without a network takes one thread."""
    return {TRAINING: max(processors() // training.threads, 1), GPU: max(gpus(), 1)}


def set_pool_limits(instance: dg.DagsterInstance, training: Training) -> None:
    """Set when a study is opened: what a person changes in the UI lasts until then.

    Where runs are launched elsewhere (Ray, Kubernetes), this machine says nothing of what there is: limits
    are the administrator's there, and stay.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return
    known = {info.name: info.limit for info in instance.event_log_storage.get_pool_limits()}
    for pool, limit in pool_limits(training).items():
        if known.get(pool) != limit:
            instance.event_log_storage.set_concurrency_slots(pool, limit)


def processors() -> int:
    """Those this process may use: a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA GPUs, counted without torch, whose import takes seconds."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
