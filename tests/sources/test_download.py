"""The downloader against a local web server that serves ranges, cuts transfers and changes its files."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from seqpricing_core.download import fetch
from seqpricing_core.errors import InputError

CONTENT = bytes(range(256)) * 4000


@dataclass
class Web:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    etag: str = '"one"'
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next transfers are cut."""
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    state = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            begin = 0
            if wanted and state.ranges and self.headers.get("If-Range") == state.etag:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            body = state.content[begin:]
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/data.zip"
    yield state
    server.shutdown()


def test_file_and_checksum_are_kept_and_not_fetched_again(web: Web, tmp_path: Path) -> None:
    file = tmp_path / "data.zip"
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(web.url, file) == digest
    assert fetch(web.url, file, sha256=digest) == digest
    assert file.read_bytes() == CONTENT
    assert (tmp_path / "data.zip.sha256").read_text() == f"{digest}  data.zip\n"  # as sha256sum -c reads it
    assert len(web.asked) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.zip", "data.zip.sha256"]


def test_damaged_file_is_fetched_again(web: Web, tmp_path: Path) -> None:
    file = tmp_path / "data.zip"
    fetch(web.url, file)
    file.write_bytes(CONTENT[:-1])
    fetch(web.url, file)
    assert file.read_bytes() == CONTENT


def test_broken_transfer_goes_on_where_it_stopped(web: Web, tmp_path: Path) -> None:
    web.cut_after = [100_000, 50_000]
    fetch(web.url, tmp_path / "data.zip", pause=0)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert web.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_next_run_goes_on_too(web: Web, tmp_path: Path) -> None:
    web.cut_after = [100_000]
    with pytest.raises(InputError, match="broke off 1 times"):
        fetch(web.url, tmp_path / "data.zip", attempts=1)
    assert not (tmp_path / "data.zip").exists()
    fetch(web.url, tmp_path / "data.zip")
    assert web.asked == [None, "bytes=100000-"]


@pytest.mark.parametrize("change", ["content", "no ranges"])
def test_never_joins_two_versions(web: Web, tmp_path: Path, change: str) -> None:
    web.cut_after = [100_000]
    with pytest.raises(InputError):
        fetch(web.url, tmp_path / "data.zip", attempts=1)
    if change == "content":
        web.content, web.etag = CONTENT[::-1], '"two"'
    else:
        web.ranges = False
    fetch(web.url, tmp_path / "data.zip", pause=0)
    assert (tmp_path / "data.zip").read_bytes() == web.content


def test_wrong_checksum_leaves_nothing(web: Web, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checksum"):
        fetch(web.url, tmp_path / "data.zip", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_not_found_is_said_at_once(web: Web, tmp_path: Path) -> None:
    web.status = 404
    with pytest.raises(InputError, match="HTTP 404"):
        fetch(web.url, tmp_path / "data.zip")
    assert len(web.asked) == 1


def test_busy_server_is_tried_again(web: Web, tmp_path: Path) -> None:
    web.status = 503
    with pytest.raises(InputError, match="HTTP 503"):
        fetch(web.url, tmp_path / "data.zip", attempts=3, pause=0)
    assert len(web.asked) == 3


def test_only_the_web_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an address"):
        fetch("file:///etc/hostname", tmp_path / "x")


def test_command(web: Web, tmp_path: Path, refuses: Callable[..., InputError]) -> None:
    from seqpricing_dagster.cli import app

    done = CliRunner().invoke(app, ["data", "fetch", web.url, "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert "french_factors" in CliRunner().invoke(app, ["data", "list"]).output
    unknown = CliRunner().invoke(app, ["data", "fetch", "frensh"])
    assert isinstance(unknown.exception, InputError)
    assert "french_factors" in str(unknown.exception)
