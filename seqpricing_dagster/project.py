"""Which study this process serves, and where its files lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from seqpricing_core.code_version import code_version as code_version  # noqa: PLC0414 - others take it from here
from seqpricing_core.fitted_store import FittedStore
from seqpricing_core.study import Study, load_study
from seqpricing_dagster.object_store import STORE_VARIABLE, SharedFolder, check_store_url

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY_VARIABLE = "SEQPRICING_STUDY"
OUTPUTS_VARIABLE = "SEQPRICING_OUTPUTS"


@dataclass(frozen=True)
class Project:
    """A study and its folder ``<outputs>/<name of the study>``."""

    study: Study
    folder: Path
    store: str | None = None
    """URL below which the files of studies are shared between machines."""

    @property
    def files(self) -> SharedFolder:
        """The folder of the study, here and in the store."""
        return SharedFolder(self.folder, f"{self.store}/{self.study.name}" if self.store else None)

    @property
    def vendor_files(self) -> Path:
        """Raw files of a simulated market."""
        return self.folder / "vendor"

    @property
    def shared_vendor_files(self) -> SharedFolder:
        return self.files.below(self.vendor_files.name)

    @property
    def shared_assets(self) -> SharedFolder:
        return self.files.below(self.assets.name)

    @property
    def fitted_store(self) -> FittedStore:
        """Windows that were ever trained, by what they were trained from."""
        shared = self.files.below("fitted")
        return FittedStore(shared.folder, shared)

    @property
    def assets(self) -> Path:
        return self.folder / "assets"

    @property
    def dagster_home(self) -> Path:
        return self.folder / "dagster"

    @property
    def report_file(self) -> Path:
        return self.assets / "evaluation" / "report" / "report.html"

    @property
    def doctor_files(self) -> Path:
        """What `seqpricing doctor` writes."""
        return self.folder / "doctor"

    @property
    def coverage_file(self) -> Path:
        """The heat map of coverage, beside its table."""
        return self.assets / "quality" / "coverage" / "coverage.png"

    @property
    def signal_file(self) -> Path:
        """The signal for a spreadsheet, beside its table."""
        return self.assets / "signal" / "next_month_signal" / "next_month_signal.csv"


def open_project(study_file: Path, outputs: Path) -> Project:
    """Read the study file; nothing is written."""
    study = load_study(study_file)
    store = os.environ.get(STORE_VARIABLE)
    return Project(study, outputs.resolve() / study.name, check_store_url(store) if store else None)


def project_from_environment() -> Project:
    """The study named in the environment, else the demo."""
    study_file = Path(os.environ.get(STUDY_VARIABLE) or REPOSITORY / "studies" / "demo.yaml")
    return open_project(study_file, Path(os.environ.get(OUTPUTS_VARIABLE) or "outputs"))
