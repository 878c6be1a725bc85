"""Which study this process serves, and where its files lie."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

import seqpricing_core
from seqpricing_core.study import Study, load_study
from seqpricing_dagster.data_roots import check_data_roots
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
    check_data_roots(study, study_file)
    store = os.environ.get(STORE_VARIABLE)
    return Project(study, outputs.resolve() / study.name, check_store_url(store) if store else None)


def project_from_environment() -> Project:
    """The study named in the environment, else the demo."""
    study_file = Path(os.environ.get(STUDY_VARIABLE) or REPOSITORY / "studies" / "demo.yaml")
    return open_project(study_file, Path(os.environ.get(OUTPUTS_VARIABLE) or "outputs"))


def code_version(*sources: str, settings: BaseModel | dict[str, object] | None = None) -> str:
    """Fingerprint of the core's files that a step runs, and of the settings it runs with.

    Parameters
    ----------
    sources
        Files or folders of `seqpricing_core`, such as ``panel/build.py`` or ``nn``.
    settings
        The parts of the study that the step depends on.
    """
    root = Path(seqpricing_core.__file__).parent
    digest = hashlib.sha256()
    for source in sources:
        path = root / source
        files = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        for file in sorted(files) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    if settings is not None:
        plain = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:12]
