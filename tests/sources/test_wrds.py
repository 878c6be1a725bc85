"""WRDS against a real PostgreSQL server that holds the simulated market in WRDS's schemas."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.pipeline import prepare_data
from seqpricing_core.source_configs import WrdsSource
from seqpricing_core.sources import wrds_copy
from seqpricing_core.sources.wrds import DSF, MSF, MSF_V2, Wrds
from seqpricing_core.study import Study, load_study

YEARS = range(2000, 2007)
SECRET = "correct horse battery staple"


@pytest.fixture
def source(credentials: Any, wrds_server: Any, tmp_path: Path) -> Callable[..., WrdsSource]:
    """The section of a study file that asks the test server."""

    def make(**changes: Any) -> WrdsSource:
        settings = {
            "kind": "wrds", "cache": tmp_path / "cache", "host": "127.0.0.1", "port": wrds_server.port,
            "encryption": "require" if shutil.which("openssl") else "disable", "securities": "all",
            "attempts": 3,
        }  # fmt: skip
        return WrdsSource.model_validate(settings | changes)

    return make


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrds_copy, "RETRY_SECONDS", 0.01)


@pytest.mark.parametrize("layout", ["legacy", "ciz"])
def test_server_gives_the_tables_of_the_simulators_files(
    layout: str, source: Callable[..., WrdsSource], simulated_files: Any
) -> None:
    """Bit for bit, every table and year, in both layouts of CRSP."""
    wrds = Wrds(source(layout=layout))
    wrds.copy(YEARS.start, YEARS.stop - 1)
    delisted = 0
    for year in YEARS:
        for table in ("stock_months", "stock_days", "statements", "factors", "factor_days"):
            ours, theirs = getattr(wrds, table)(year), getattr(simulated_files, table)(year)
            if layout == "ciz" and table == "stock_months":
                # The new layout has actions, not codes: hundreds are all it can say.
                theirs = theirs.with_columns(pl.col("delisting_code") // 100 * 100)
            assert len(theirs) or table == "statements"
            assert ours.equals(theirs), f"{table} {year}"
            delisted += table == "stock_months" and ours["delisting_code"].is_not_null().sum()
    assert delisted > 5


def test_panel_from_the_server_is_the_panel_from_the_files(
    source: Callable[..., WrdsSource], simulated_files: Any, make_study: Callable[..., Study], tmp_path: Path
) -> None:
    files = {
        "kind": "canonical_files", "stock_months": simulated_files.stock_months_file,
        "statements": simulated_files.statements_file, "factors": simulated_files.factors_file,
        "stock_days": simulated_files.stock_days_file, "factor_days": simulated_files.factor_days_file,
    }  # fmt: skip
    changes = {
        "sample": {"first_month": "2004-01", "last_month": "2006-12"},
        "windows": {"train_years": 1, "validation_years": 1},
    }
    server = source(layout="legacy").model_dump()
    panels = {
        name: prepare_data(make_study(source=settings, **changes), tmp_path / name).panels
        for name, settings in (("files", files), ("server", server))
    }
    assert sorted(panels["files"]) == [2004, 2005, 2006]
    for year, panel in panels["files"].items():
        assert len(panel) > 300
        assert panels["server"][year].to_bytes() == panel.to_bytes()


def test_what_was_copied_is_not_asked_for_again(source: Callable[..., WrdsSource]) -> None:
    wrds = Wrds(source(daily=False, statements="annual", layout="legacy"))
    files = wrds.copy(2003, 2004)
    gone = wrds_copy.file_of(wrds.source.cache, MSF, 2003)
    before = {file: file.stat().st_mtime_ns for file in files if file != gone}
    content = gone.read_bytes()
    nowhere = wrds.source.model_copy(update={"port": 1})
    assert Wrds(nowhere).copy(2003, 2004) == files  # no server is needed any more
    gone.unlink()
    with pytest.raises(InputError, match=r"crsp\.msf"):
        Wrds(nowhere).copy(2003, 2004)
    leftover = gone.with_name(f".{gone.name}.999999999.1.tmp")  # of a process that was killed
    leftover.write_bytes(b"half a year")
    assert wrds.copy(2003, 2004) == files
    assert gone.read_bytes() == content
    assert not leftover.exists()
    assert {file: file.stat().st_mtime_ns for file in files if file != gone} == before


def test_a_recent_year_that_was_empty_is_asked_for_again(
    source: Callable[..., WrdsSource], wrds_server: Any
) -> None:
    """The vendor had not had it yet; an old empty year is one before the table begins."""
    year = dt.datetime.now(dt.UTC).year
    wrds_server.sql("create table if not exists crsp.late (permno int, date date); "
                    "grant select on crsp.late to reader")  # fmt: skip
    late = wrds_copy.ServerTable("crsp.late", {"permno": "int8", "date": "date"}, day="date")
    years = range(year, year + 1)
    assert len(pl.read_parquet(wrds_copy.copy_tables(source(), [late], years)[0])) == 0
    wrds_server.sql(f"insert into crsp.late values (7, '{year}-01-31')")
    assert pl.read_parquet(wrds_copy.copy_tables(source(), [late], years)[0])["permno"].to_list() == [7]
    old = range(1920, 1921)
    wrds_copy.copy_tables(source(), [late], old)
    wrds_server.sql("insert into crsp.late values (8, '1920-01-31')")
    assert len(pl.read_parquet(wrds_copy.copy_tables(source(), [late], old)[0])) == 0


@dataclass
class Proxy:
    """Passes bytes on to the server; cuts connections after so many bytes from it, so many times."""

    server_port: int
    cut_after: int
    cuts: int

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
            threading.Thread(target=self.ask, args=(client, server), daemon=True).start()
            passed = 0
            with contextlib.suppress(OSError):
                while data := server.recv(4096):
                    client.sendall(data)
                    passed += len(data)
                    if passed > self.cut_after and self.cuts:
                        self.cuts -= 1
                        break
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)


@contextlib.contextmanager
def proxy(port: int, cut_after: int, cuts: int) -> Iterator[int]:
    """A port that leads to the server, unreliably."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        between = Proxy(port, cut_after, cuts)
        threading.Thread(target=between.serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_lost_connection_is_tried_again(
    source: Callable[..., WrdsSource], wrds_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = source()
    reference = wrds_copy.copy_tables(whole, [DSF], range(2003, 2004))[0].read_bytes()
    for file in whole.cache.rglob("*.parquet"):
        file.unlink()
    with proxy(wrds_server.port, cut_after=200_000, cuts=1) as port:
        [file] = wrds_copy.copy_tables(whole.model_copy(update={"port": port}), [DSF], range(2003, 2004))
    assert file.read_bytes() == reference
    assert "connection lost" in caplog.text
    assert SECRET not in caplog.text


def test_connection_that_stays_lost_is_an_error_and_leaves_nothing_half_written(
    source: Callable[..., WrdsSource], wrds_server: Any
) -> None:
    with proxy(wrds_server.port, cut_after=900_000, cuts=1000) as port:
        lossy = source().model_copy(update={"port": port})
        with pytest.raises(InputError, match="connection was lost 3 times") as caught:
            wrds_copy.copy_tables(lossy, [MSF, DSF], range(2000, 2007))
    assert SECRET not in str(caught.value)
    left = [path for path in lossy.cache.rglob("*") if path.is_file()]
    assert left, "the years before the loss stay"
    assert all(path.suffix == ".parquet" and len(pl.read_parquet(path)) for path in left)
    assert not wrds_copy.file_of(lossy.cache, DSF, 2006).exists()


def test_wrong_password_names_the_remedy_and_no_password(
    source: Callable[..., WrdsSource], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PGPASSWORD", "hunter2-is-wrong")
    with pytest.raises(InputError, match="does not know you") as caught:
        Wrds(source()).copy(2003, 2003)
    seen = str(caught.value) + repr(caught.value.__cause__) + caplog.text + "".join(capfd.readouterr())
    assert ".pgpass" in seen
    assert "hunter2" not in seen
    assert SECRET not in seen


def test_study_file_has_no_place_for_a_password(
    tmp_path: Path, settings: Callable[..., dict[str, Any]]
) -> None:
    import yaml

    for extra in ({"password": "x"}, {"user": "x"}, {"host": "me:x@wrds"}):
        content = settings(source={"kind": "wrds", "cache": "cache", **extra})
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        with pytest.raises(InputError, match="source"):
            load_study(tmp_path / "study.yaml")


def test_no_right_to_a_table_and_no_such_column_are_named(
    source: Callable[..., WrdsSource], wrds_server: Any
) -> None:
    wrds_server.sql("revoke select on crsp.msf_v2 from reader")
    try:
        with pytest.raises(InputError, match=r"crsp\.msf_v2 cannot be read") as caught:
            wrds_copy.copy_tables(source(), [MSF_V2], range(2003, 2004))
        assert "subscribes" in str(caught.value)
    finally:
        wrds_server.sql("grant select on crsp.msf_v2 to reader")
    odd = wrds_copy.ServerTable("crsp.msf", {"permno": "int8", "colour": "text"}, day="date")
    with pytest.raises(InputError, match="colour"):
        wrds_copy.copy_tables(source(), [odd], range(2003, 2004))


def test_common_shares_alone_keep_their_market_equity(source: Callable[..., WrdsSource]) -> None:
    both = {
        name: Wrds(source(securities=name, daily=False, statements="annual")) for name in ("all", "common")
    }
    both["all"].copy(2003, 2003)
    months = {name: wrds.stock_months(2003) for name, wrds in both.items()}
    inside = months["all"]["common_share"] & months["all"]["exchange"].is_in(["NYSE", "AMEX", "NASDAQ"])
    assert 0 < (~inside).sum() < len(inside)
    assert months["common"].filter(~inside)["market_equity"].null_count() == (~inside).sum()
    assert months["common"].filter(inside).equals(months["all"].filter(inside))
    assert months["common"]["ret"].equals(months["all"]["ret"])


def test_password_file_is_the_only_secret(credentials: Any) -> None:
    """The tests connect as a user does: no password in the environment."""
    assert "PGPASSWORD" not in os.environ
    assert credentials.password_file.stat().st_mode & 0o077 == 0


def test_copy_command(
    source: Callable[..., WrdsSource], settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """`seqpricing data copy` fills the cache of a study; a study without a server is told so."""
    import yaml
    from typer.testing import CliRunner

    from seqpricing_dagster.cli import app

    asked = source(daily=False, statements="annual").model_dump(mode="json") | {"cache": "mine"}
    file = tmp_path / "study.yaml"
    file.write_text(
        yaml.safe_dump(settings(source=asked, characteristics=["mvel1", "mom_12", "bm"])), encoding="utf-8"
    )
    done = CliRunner().invoke(app, ["data", "copy", str(file)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mine" / "crsp.msf_v2" / "2003.parquet").is_file()
    assert SECRET not in done.output
    file.write_text(yaml.safe_dump(settings()), encoding="utf-8")
    refused = CliRunner().invoke(app, ["data", "copy", str(file)])
    assert isinstance(refused.exception, InputError)
