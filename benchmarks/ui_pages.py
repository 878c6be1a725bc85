"""Seconds until a page of the web UI shows what it is opened for, in headless Chromium.

    seqpricing run studies/demo.yaml && seqpricing ui studies/demo.yaml      in another terminal
    python benchmarks/ui_pages.py http://127.0.0.1:3000

The first visit starts with an empty browser; of the later ones the median counts.
"""

from __future__ import annotations

import shutil
import statistics
import time
from typing import Annotated, Any

import typer
from playwright.sync_api import sync_playwright

PAGES = {
    "lineage": ("asset-groups", "evaluation"),
    "an asset and its partitions": ("assets/models/ipca/ipca_models?view=partitions", "2005"),
    "runs": ("runs", "Success"),
    "backfills": ("runs?view=backfills", "Status"),
    "automation": ("automation", "newest_year"),
}
"""Path, and a text that stands on the page once it is there."""


def seconds(page: Any, address: str, path: str, text: str) -> float:
    started = time.perf_counter()
    page.goto(f"{address}/{path}", wait_until="commit")
    page.get_by_text(text).first.wait_for(timeout=30_000)
    return time.perf_counter() - started


def main(address: str, visits: Annotated[int, typer.Option(help="After the first.")] = 5) -> None:
    """Print a table."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    print("| page | first visit, s | later, s |\n|---|---:|---:|")
    with sync_playwright() as playwright:
        for name, (path, text) in PAGES.items():
            browser = playwright.chromium.launch(
                executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1700, "height": 1000})
            first = seconds(page, address, path, text)
            later = statistics.median(seconds(page, address, path, text) for _ in range(visits))
            browser.close()
            print(f"| {name} | {first:.1f} | {later:.1f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
