"""Free files, fetched once: resumed where a transfer broke off, kept with their checksum, off unless asked.

Nothing else in this package opens a connection to a web server.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from seqpricing_core.errors import InputError
from seqpricing_core.storage import write_atomically

CHUNK: Final = 1 << 20
RETRY_SECONDS: Final = 2.0
USER_AGENT_VARIABLE: Final = "SEQPRICING_USER_AGENT"
"""The SEC serves only those who say who they are: your name and address."""

_FRENCH = "https://mba.tuck.dartmouth.edu/pages/faculty/ken.french/ftp"


@dataclass(frozen=True)
class FreeFile:
    """A file on the web that anybody may have."""

    name: str
    """Of the file it becomes."""
    url: str
    about: str


FREE_FILES: Final = {
    "french_factors": FreeFile(
        "F-F_Research_Data_5_Factors_2x3_CSV.zip",
        f"{_FRENCH}/F-F_Research_Data_5_Factors_2x3_CSV.zip",
        "five factors and the risk-free rate, by month since 1963",
    ),
    "french_factors_3": FreeFile(
        "F-F_Research_Data_Factors_CSV.zip",
        f"{_FRENCH}/F-F_Research_Data_Factors_CSV.zip",
        "three factors and the risk-free rate, by month since 1926",
    ),
    "french_factors_daily": FreeFile(
        "F-F_Research_Data_Factors_daily_CSV.zip",
        f"{_FRENCH}/F-F_Research_Data_Factors_daily_CSV.zip",
        "three factors and the risk-free rate, by day since 1926",
    ),
    "french_size_value": FreeFile(
        "25_Portfolios_5x5_CSV.zip",
        f"{_FRENCH}/25_Portfolios_5x5_CSV.zip",
        "25 portfolios on size and book-to-market",
    ),
    "gkx": FreeFile(
        "datashare.zip",
        "https://dachxiu.chicagobooth.edu/download/datashare.zip",
        "94 characteristics of Gu, Kelly, Xiu (2020); 1.4 GB",
    ),
    "sec_tickers": FreeFile(
        "company_tickers.json",
        "https://www.sec.gov/files/company_tickers.json",
        "the SEC's company numbers and tickers of today",
    ),
    "sec_company_facts": FreeFile(
        "companyfacts.zip",
        "https://www.sec.gov/Archives/edgar/daily-index/xbrl/companyfacts.zip",
        "every figure of every filing since 2009; about 1.3 GB",
    ),
}
"""What `seqpricing data fetch` knows by name; addresses as their publishers give them."""


def fetch(
    url: str, file: Path, *, sha256: str | None = None, attempts: int = 5, pause: float = RETRY_SECONDS
) -> str:
    """Fetch ``url`` to ``file``; returns the SHA-256 of the content.

    A file that is there, and whole by the checksum beside it (``<name>.sha256``), is not fetched again. What
    a broken transfer left (``<name>.part``) is continued if the server still has the same content (its ETag
    or date) and serves ranges, else fetched from the start. The file appears under its name only when as many
    bytes are there as the server announced, and the checksum is the expected one, if any.

    Raises
    ------
    InputError
        No such address or file, the transfer broke off ``attempts`` times, or another checksum.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(
            "not an address on the web",
            where=url,
            expected="https://...",
            remedy="correct the address",
        )
    if (kept := _kept_checksum(file)) is not None and sha256 in (None, kept):
        return kept
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(min(pause * 2 ** (attempt - 1), 60.0))
        try:
            if _transfer(url, part):
                return _accept(url, part, file, sha256)
            reason = "the connection was closed before the end"
        except urllib.error.HTTPError as error:
            if error.code not in (408, 416, 429, 500, 502, 503, 504):
                raise _refused(url, error) from error
            reason = f"HTTP {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
    raise InputError(
        f"the transfer broke off {attempts} times: {reason}",
        where=f"{url}; {part.stat().st_size if part.exists() else 0} bytes are in {part}",
        expected="a whole file",
        remedy="run again when the network is back: the transfer goes on where it stopped",
    )


def _kept_checksum(file: Path) -> str | None:
    """The checksum beside a file that is whole by it."""
    beside = file.with_name(f"{file.name}.sha256")
    if not (file.is_file() and beside.is_file()):
        return None
    recorded = beside.read_text(encoding="utf-8").split()[:1]
    return recorded[0] if recorded == [_checksum(file)] else None


def _transfer(url: str, part: Path) -> bool:
    """Append to ``part`` what it lacks; whether it is whole then."""
    version_file = part.with_name(f"{part.name}.version")
    have = part.stat().st_size if part.exists() else 0
    version = version_file.read_text(encoding="utf-8") if version_file.exists() else ""
    headers = {"User-Agent": os.environ.get(USER_AGENT_VARIABLE, "seqpricing")}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `fetch` saw that it is http
    try:
        response = urllib.request.urlopen(request, timeout=60)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # longer than the file now is
        raise
    with response:
        continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        announced = None if length is None else int(length) + (have if continued else 0)
        stamp = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        write_atomically(version_file, ("" if stamp.startswith("W/") else stamp).encode())
        with part.open("ab" if continued else "wb") as out:
            while chunk := response.read(CHUNK):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
    return announced is None or part.stat().st_size == announced


def _accept(url: str, part: Path, file: Path, expected: str | None) -> str:
    found = _checksum(part)
    version_file = part.with_name(f"{part.name}.version")
    if expected is not None and found != expected:
        part.unlink()
        version_file.unlink(missing_ok=True)
        raise InputError(
            "the file's checksum is another one; what was fetched is thrown away",
            where=f"{url}: SHA-256 {found}",
            expected=f"SHA-256 {expected}",
            remedy="if the publisher has a new version, give its checksum or none; else fetch again",
        )
    part.replace(file)
    version_file.unlink(missing_ok=True)
    write_atomically(file.with_name(f"{file.name}.sha256"), f"{found}  {file.name}\n".encode())
    return found


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _refused(url: str, error: urllib.error.HTTPError) -> InputError:
    return InputError(
        f"the server refuses: HTTP {error.code} {error.reason}",
        where=url,
        expected="a file that anybody may have",
        remedy=f"set {USER_AGENT_VARIABLE}='Your Name you@example.org': the SEC wants to know who asks"
        if "sec.gov" in url
        else "open the address in a browser: the publisher may have moved the file; fetch it by hand then",
    )
