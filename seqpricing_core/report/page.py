"""Self-contained HTML pages, one per study and one per family, and beside them every table as a file.

Percent and annual figures begin in this package; before, returns are monthly, decimal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from seqpricing_core.report.exports import document, to_csv, to_latex
from seqpricing_core.report.facts import data_facts, part_year, sort_facts
from seqpricing_core.report.inputs import ReportInputs
from seqpricing_core.report.interactive import plotly_script
from seqpricing_core.report.lineage import by_asset, link_of
from seqpricing_core.report.pictures import coverage_picture
from seqpricing_core.report.published import counterpart
from seqpricing_core.report.record import StudyRecord
from seqpricing_core.report.sections import Section, data_tables, family_sections, study_sections
from seqpricing_core.report.shown import title_of
from seqpricing_core.report.table import Table
from seqpricing_core.report.tables import NET_SHARPE, PREDICTIVE_R2, SHARPE, TOTAL_R2, Measure, Scores
from seqpricing_core.storage import write_atomically
from seqpricing_core.study import PublicFilesSource, SimulatedSource, Study

__all__ = ["Report", "ReportInputs", "finding", "render_report"]

RECORD_FILE = "record.json"
"""Of the report's folder: see `StudyRecord`."""


@dataclass(frozen=True)
class Report:
    """The page of a study, and the files beside it."""

    suffix: ClassVar[str] = "html"

    html: str
    files: Mapping[str, bytes] = field(default_factory=dict, compare=False)
    """By path below the page's folder: pages of families, tables as CSV and LaTeX, the record."""

    def to_bytes(self) -> bytes:
        return self.html.encode()

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> Report:
        (path,) = paths
        return cls(path.read_bytes().decode())

    def write_files(self, folder: Path) -> None:
        """Write what lies beside the page; tables of an earlier report that are no more go."""
        for name, data in self.files.items():
            write_atomically(folder / name, data)
        for old in (*folder.glob("model_*.html"), *folder.glob("tables/*")):
            if str(old.relative_to(folder)) not in self.files:
                old.unlink()


def render_report(study: Study, results: ReportInputs) -> Report:
    """The pages of a study and their tables. No outside resource, no time stamp."""
    intervals = results.inference.intervals if results.inference is not None else None
    scores = Scores(study, results.performance, intervals)
    sections = study_sections(study, results, scores)
    data = data_tables(results)
    html = _render(
        "page.html.j2", study, results, scores, (Section("data", "Data", data), *sections),
        finding=finding(scores, results.test_months),
        facts=data_facts(study, results.managed, results.test_months)
        | sort_facts(results.portfolio_returns, study.portfolios),
        data=data,
        coverage=coverage_picture(results),
        sections=sections,
        sharpe_error=f"{math.sqrt(12 / len(results.test_months)):.2f}",
        models=_models(study),
        pages={title_of(family): f"model_{family}.html" for family in _families(study, results)},
    )  # fmt: skip
    tables = [*data, *(table for section in sections for table in section.tables)]
    files = {RECORD_FILE: StudyRecord.of(study, results).to_bytes()}
    for family in _families(study, results):
        of_family = family_sections(study, results, scores, family)
        tables += [table for section in of_family for table in section.tables]
        files[f"model_{family}.html"] = _family_page(study, results, scores, family, of_family)
    return Report(html, files | _table_files(study, tables))


def _family_page(
    study: Study, results: ReportInputs, scores: Scores, family: str, sections: Sequence[Section]
) -> bytes:
    own = [f"{kind}/{family}/" for kind in ("models", "predictions", "explain")]
    others = [f"{kind}/{other}/" for kind in ("models", "predictions") for other in _families(study, results)]
    foreign = tuple(prefix for prefix in others if prefix not in own)
    behind = tuple(one for one in results.lineage if not one.asset.startswith(foreign))
    results = replace(results, lineage=behind)
    config = next((model for model in study.models if model.family == family), None)
    settings = {} if config is None else _settings(config.model_dump(mode="json", exclude={"family"}))
    training = _settings(study.training.model_dump(mode="json"))
    html = _render(
        "model.html.j2", study, results, scores, sections,
        sections=sections, family=title_of(family), description=_models(study).get(title_of(family), ""),
        settings=settings | {f"training.{k}": v for k, v in training.items()},
    )  # fmt: skip
    return html.encode()


def _render(
    template: str,
    study: Study,
    results: ReportInputs,
    scores: Scores,
    numbered: Sequence[Section],
    **texts: Any,
) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lineage = by_asset(results.lineage)
    tables = [table for section in numbered for table in section.tables]
    return environment.get_template(template).render(
        study=study,
        scores=scores,
        simulated=isinstance(study.source, SimulatedSource),
        public=isinstance(study.source, PublicFilesSource),
        part_year=part_year(results.test_months),
        test_months=len(results.test_months),
        tested=results.inference is not None,
        provenance=results.provenance,
        lineage=lineage,
        number={table.name: f"Table {place + 1}" for place, table in enumerate(tables)},
        link={table.source: link_of(table.source, list(lineage)) for table in tables},
        link_of=lambda source: link_of(source, list(lineage)),
        counterpart=counterpart,
        plotly=_script(),
        **texts,
    )


@cache
def _script() -> Markup:
    return Markup(plotly_script())  # noqa: S704 (the library that comes with the package)


def _table_files(study: Study, tables: Sequence[Table]) -> dict[str, bytes]:
    simulated = "SIMULATED market: " if isinstance(study.source, SimulatedSource) else ""
    files = {f"tables/{table.name}.csv": to_csv(table) for table in tables}
    files |= {f"tables/{table.name}.tex": to_latex(table, simulated).encode() for table in tables}
    names = list(dict.fromkeys(table.name for table in tables))
    return files | {"tables.tex": document(study.title, names).encode()}


def finding(scores: Scores, test_months: Sequence[str]) -> str:
    """One plain sentence: who leads on what, by how much, out of how many tries."""
    weights = scores.study.portfolios.weights[0]
    sharpe = f"sharpe_long_short_{weights}"
    net = ""
    if best := scores.best(sharpe):
        after = NET_SHARPE.text(scores.value(best[0], best[1], f"net_{sharpe}"))
        net = f"{after} after costs of {scores.study.costs.basis_points:g} bp"
    total = _leader(scores, "total_r2_stocks", TOTAL_R2, "total R² of stocks")
    predictive = _leader(scores, "predictive_r2_stocks", PREDICTIVE_R2, "predictive R²")
    portfolio = _leader(scores, sharpe, SHARPE, f"{weights}-weighted long–short Sharpe ratio", net)
    span = f"{len(test_months)} test months ({test_months[0]} to {test_months[-1]})"
    return f"Over {span}, among {scores.models} pairs of model and K, {total}, {predictive}, and {portfolio}."


def _leader(scores: Scores, name: str, measure: Measure, what: str, remark: str = "") -> str:
    best, oracle = scores.best(name), scores.oracle(name)
    if best is None:
        return f"no model has a {what} that is a number"
    family, factors, value = best
    unit = "%" if measure.unit == "%" else ""
    share, of_oracle = scores.share(family, factors, name), ""
    if oracle is not None:
        of_oracle = f"{share} of the oracle’s" if share else f"the oracle’s is {measure.text(oracle)}{unit}"
    negative = "" if value > 0 else "none is above zero"
    remarks = "; ".join(filter(None, (measure.text(value) + unit, of_oracle, negative, remark)))
    which = f"with K = {factors}" if factors else "without factors"
    return f"{title_of(family)} {which} has the highest {what} ({remarks})"


def _models(study: Study) -> dict[str, str]:
    """Title and one line per family, from the docstring of its configuration."""
    lines = {m.family: (type(m).__doc__ or "").strip().split("\n")[0] for m in study.models}
    return {title_of(family): line.replace("*", "") for family, line in lines.items()}


def _families(study: Study, results: ReportInputs) -> list[str]:
    """Those with results, in the order of the study."""
    found = {family for family, _ in results.models}
    others = sorted(found - {*study.families, "oracle"})
    return [family for family in (*study.families, *others) if family in found]


def _settings(dumped: Mapping[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) if not isinstance(value, str) else value for key, value in dumped.items()}
