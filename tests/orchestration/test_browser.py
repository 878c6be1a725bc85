"""The web UI as a person uses it: real server, real daemon, headless Chromium.

Needs Debian's ``chromium`` (or any Chromium on the path) beside the development requirements.
``SEQPRICING_SCREENSHOTS=<folder>`` keeps what it saw.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from seqpricing_dagster.project import REPOSITORY, Project

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"),
]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
PATIENCE = 120_000
"""Milliseconds; a loaded machine starts a run slowly."""


@pytest.fixture(scope="module")
def server(finished: Project, study_file: Path) -> Iterator[str]:
    """Address of the UI over the finished study, as `seqpricing ui` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from seqpricing_dagster.cli import main; main()", "ui", str(study_file)]
    command += ["--outputs", str(finished.folder.parent), "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, "the UI ended before it answered"
                time.sleep(1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture
def page() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1700, "height": 1000})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def look(page: Any, name: str) -> None:
    """Keep a screenshot where one is asked for."""
    if folder := os.environ.get("SEQPRICING_SCREENSHOTS"):
        page.wait_for_timeout(1500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_lineage_shows_the_whole_flow(page: Any, server: str) -> None:
    page.goto(f"{server}/asset-groups")
    graph = page.locator("svg")
    for group in ("raw", "panel", "ipca", "ca2", "seqlat", "oracle", "evaluation"):
        graph.get_by_text(group, exact=True).first.wait_for()
    look(page, "lineage")
    page.goto(f"{server}/asset-groups?expanded=all&open-nodes%5B0%5D=seqpricing%3A__repository__")
    look(page, "lineage_expanded")


def test_a_plot_opens_in_the_metadata_of_an_asset(page: Any, server: str) -> None:
    page.goto(f"{server}/assets/models/seqlat/seqlat_models?view=partitions&partition=2005")
    page.get_by_text("train 2001-2003, validation 2004-2004, test 2005").wait_for()
    page.get_by_text("[Show Markdown]").click()
    picture = page.locator("img[src^='data:image/png']")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 300
    look(page, "loss_curves")


def test_one_partition_is_launched_from_the_ui(page: Any, server: str, instance: dg.DagsterInstance) -> None:
    """The person's path: asset, Materialize, a test year, launch; the file is written again."""
    key = dg.AssetKey(["predictions", "ipca", "ipca_predictions"])
    before = instance.get_latest_materialization_event(key)
    assert before is not None
    page.goto(f"{server}/assets/predictions/ipca/ipca_predictions")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_placeholder("ex: ").fill("2004")
    page.keyboard.press("Tab")
    look(page, "launch")
    page.get_by_role("button", name="Launch").last.click()
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        after = instance.get_latest_materialization_event(key)
        if after is not None and after.timestamp > before.timestamp:
            break
        time.sleep(1)
    assert after.timestamp > before.timestamp, "nothing was materialized"
    assert after.asset_materialization.partition == "2004"
    page.goto(f"{server}/runs")
    page.get_by_text("Success").first.wait_for()
    look(page, "runs")


def test_a_backfill_is_launched_from_the_ui(page: Any, server: str, instance: dg.DagsterInstance) -> None:
    """Two test years, in the dialog that a person sees; the store has the fits, so nothing is trained."""
    key = dg.AssetKey(["models", "ipca", "ipca_models"])
    page.goto(f"{server}/assets/models/ipca/ipca_models")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_placeholder("ex: ").fill("[2004...2005]")
    page.keyboard.press("Tab")
    look(page, "launch_backfill")
    page.get_by_role("button", name="Launch").last.click()
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        backfills = instance.get_backfills()
        if backfills and backfills[0].status == BulkActionStatus.COMPLETED_SUCCESS:
            break
        time.sleep(1)
    assert backfills[0].status == BulkActionStatus.COMPLETED_SUCCESS
    for year in ("2004", "2005"):
        chosen = dg.AssetRecordsFilter(key, asset_partitions=[year])
        (record,) = instance.fetch_materializations(chosen, limit=1).records
        assert record.asset_materialization.metadata["fit"].value == "reused"
        assert record.timestamp > time.time() - 2 * PATIENCE / 1000


def test_pages_open_and_say_how_long_it_took(page: Any, server: str) -> None:
    """What a person looks at when a year is bad: the year, its checks, what is planned."""
    pages = {
        "asset-groups": "panel",
        "assets/models/seqlat/seqlat_models?view=partitions&partition=2005": "training_seconds",
        "assets/models/seqlat/seqlat_models?view=checks": "fit_is_believable",
        "assets/predictions/seqlat/seqlat_predictions?view=checks": "forecasts_do_not_see_the_future",
        "automation": "newest_year",
        "runs": "Success",
    }
    for path, text in pages.items():
        started = time.monotonic()
        page.goto(f"{server}/{path}")
        page.get_by_text(text).locator("visible=true").first.wait_for()
        print(f"{time.monotonic() - started:5.1f} s  {path}")  # noqa: T201 - with -s a person reads it
        look(page, path.split("?")[0].replace("/", "_"))
