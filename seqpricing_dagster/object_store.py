"""The files of a study, shared between machines through an object store.

Every machine reads and writes whole local files, since panels are mapped into memory. Where a store is
named, a file that was written is put into it before its partition counts as materialized, and a file
that is to be read is first made the same as the store's. A file ``panel/2004.arrow`` is stored as::

    panel/2004.arrow/<SHA-256>    a content of the partition, never overwritten
    panel/2004.arrow.sha256       which content is the partition: one line, put last

A put is atomic in every store, so a reader sees the old partition or the new one; what it fetched must
have the hash by which it was fetched. Contents that were replaced stay: the record of what was restated.
Notes about a partition are objects of their own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seqpricing_core.errors import InputError
from seqpricing_core.storage import write_atomically

STORE_VARIABLE = "SEQPRICING_STORE"
SCHEMES = ("s3", "gs", "az", "file", "memory")
PARALLEL = 8
"""Objects fetched side by side: a window reads some fifty small ones."""
PATIENCE = timedelta(minutes=2)
"""How long a store that does not answer is asked again."""
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class SharedFolder:
    """A local folder, and where its files are shared; without a URL it is only the local folder."""

    folder: Path
    url: str | None = None

    def below(self, name: str) -> SharedFolder:
        """A folder of this one."""
        return SharedFolder(self.folder / name, f"{self.url}/{name}" if self.url else None)

    def publish(self, paths: Sequence[Path]) -> None:
        """Put local files into the store: contents first, then which content each file is."""
        if self.url is None:
            return
        store = open_store(self.url)
        for path in paths:
            digest, key = sha256_of(path), self._key(path)
            with _speaking_to(self.url):
                if not _exists(store, f"{key}/{digest}"):
                    store.put(f"{key}/{digest}", path)
                store.put(f"{key}.sha256", f"{digest}\n".encode())

    def fetch(self, paths: Sequence[Path]) -> list[Path]:
        """Make local files what the store says; returns those that are there.

        A file that only this machine has is not there: its upload did not happen, so nobody may have
        counted on it.
        """
        if self.url is None:
            return [path for path in paths if path.is_file()]
        with ThreadPoolExecutor(min(PARALLEL, max(1, len(paths)))) as pool:
            return [path for path, there in zip(paths, pool.map(self._fetch, paths), strict=True) if there]

    def publish_all(self) -> None:
        """Put every file that lies in the folder itself into the store."""
        if self.url is not None:
            self.publish(sorted(path for path in self.folder.glob("[!.]*") if path.is_file()))

    def fetch_all(self) -> list[Path]:
        """Make the folder hold every file that was published from it."""
        if self.url is None:
            return []
        with _speaking_to(self.url):
            names = [entry["path"] for page in open_store(self.url).list() for entry in page]
        files = [self.folder / name.removesuffix(".sha256") for name in names if name.endswith(".sha256")]
        return self.fetch(files)

    def write_note(self, path: Path, note: bytes) -> None:
        """A few bytes that may be removed again: they lie in the store alone, or here if there is none."""
        if self.url is None:
            write_atomically(path, note)
            return
        with _speaking_to(self.url):
            open_store(self.url).put(self._key(path), note)

    def remove_notes(self, paths: Iterable[Path]) -> None:
        """Those that are there."""
        for path in paths:
            if self.url is None:
                path.unlink(missing_ok=True)
                continue
            with _speaking_to(self.url), suppress(FileNotFoundError):
                open_store(self.url).delete(self._key(path))

    def notes(self, folders: Sequence[Path]) -> dict[Path, bytes]:
        """All notes in these folders, in their order."""
        if self.url is None:
            return {path: path.read_bytes() for folder in folders for path in sorted(folder.glob("[!.]*"))}
        with ThreadPoolExecutor(min(PARALLEL, max(1, len(folders)))) as pool:
            return {path: note for found in pool.map(self._notes, folders) for path, note in found.items()}

    def _notes(self, folder: Path) -> dict[Path, bytes]:
        assert self.url is not None
        store = open_store(self.url)
        with _speaking_to(self.url):
            names = [entry["path"] for page in store.list(self._key(folder)) for entry in page]
            return {self.folder / name: bytes(store.get(name).bytes()) for name in sorted(names)}

    def _fetch(self, path: Path) -> bool:
        assert self.url is not None
        store, key = open_store(self.url), self._key(path)
        with _speaking_to(self.url):
            try:
                digest = bytes(store.get(f"{key}.sha256").bytes()).decode().strip()
            except FileNotFoundError:
                return False
            if path.is_file() and sha256_of(path) == digest:
                return True
            _require(SHA256.fullmatch(digest) is not None, f"{self.url}/{key}.sha256", "a SHA-256")
            content = bytes(store.get(f"{key}/{digest}").bytes())
        _require(hashlib.sha256(content).hexdigest() == digest, f"{self.url}/{key}/{digest}", "its hash")
        write_atomically(path, content)
        return True

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_store_url(url: str) -> str:
    """The URL without a trailing slash; an unknown scheme, or a secret inside, is an `InputError`."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or parts.query or parts.fragment:
        raise InputError(
            f"'{parts.scheme}://' is not a store that files can be shared through"
            if parts.scheme not in SCHEMES
            else "the URL of the store has a query or a fragment",
            where=STORE_VARIABLE,
            expected="a URL such as s3://bucket/folder, or one of " + ", ".join(f"{s}://" for s in SCHEMES),
            remedy="correct the variable, or unset it to keep files on this machine alone",
        )
    if "@" in parts.netloc and parts.scheme != "az":
        raise InputError(
            "the URL of the store holds a user or a password",
            where=STORE_VARIABLE,
            expected="a URL without credentials: it is shown in the UI and in logs",
            remedy="give credentials in the environment (AWS_ACCESS_KEY_ID, ...) or by role",
        )
    return url.rstrip("/")


@cache
def open_store(url: str) -> Any:
    """The store at ``url``, once per process; credentials and endpoint come from the environment alone."""
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise InputError(
            "the package that speaks to object stores is not installed",
            where=STORE_VARIABLE,
            expected="obstore",
            remedy="pip install 'seqpricing[object-storage]'",
        ) from error
    if url.startswith("file:"):
        return from_url(url, mkdir=True)
    if url.startswith("memory:"):
        return from_url(url)
    return from_url(url, retry_config={"retry_timeout": PATIENCE})


def _exists(store: Any, key: str) -> bool:
    try:
        store.head(key)
    except FileNotFoundError:
        return False
    return True


def _require(holds: bool, where: str, expected: str) -> None:  # noqa: FBT001
    if not holds:
        raise InputError(
            "an object in the store is damaged",
            where=where,
            expected=f"an object with {expected}",
            remedy="delete the object and materialize its partition again",
        )


@contextmanager
def _speaking_to(url: str) -> Iterator[None]:
    """A store that refuses or does not answer is an error that names it, never its credentials."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, PermissionError, FileNotFoundError) as error:
        raise InputError(
            f"the object store refused or did not answer: {str(error).partition(chr(10))[0]}",
            where=url,
            expected="a bucket that exists and that this machine may read and write",
            remedy="check bucket, endpoint (AWS_ENDPOINT_URL) and credentials in the environment; then retry",
        ) from error
