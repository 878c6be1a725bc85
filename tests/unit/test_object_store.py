"""Files shared through a store: the same code on files, in memory and (tests/integration) on S3."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from seqpricing_core.errors import InputError
from seqpricing_dagster.object_store import SharedFolder, check_store_url, open_store

pytest.importorskip("obstore", reason="obstore is not installed: pip install 'seqpricing[object-storage]'")

Machine = Callable[[str], SharedFolder]


@pytest.fixture(params=["file", "memory"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A machine by name: its own folder, and the store of all."""
    url = f"file://{tmp_path}/store" if request.param == "file" else f"memory:///{tmp_path.name}"
    return lambda name: SharedFolder(tmp_path / name, url)


def write(shared: SharedFolder, name: str, content: bytes) -> Path:
    path = shared.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_one_machine_publishes_another_reads(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    here.publish([write(here, "panel/2004.arrow", b"first"), write(here, "panel/2005.arrow", b"second")])
    names = ["panel/2004.arrow", "panel/2005.arrow", "panel/2006.arrow"]
    paths = [there.folder / name for name in names]
    assert there.fetch(paths) == paths[:2]
    assert [path.read_bytes() for path in paths[:2]] == [b"first", b"second"]
    assert not list(there.folder.rglob("*.tmp"))


def test_a_restated_partition_replaces_the_copy_of_another_machine(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    path = there.folder / "panel/2004.arrow"
    here.publish([write(here, "panel/2004.arrow", b"stated")])
    there.fetch([path])
    here.publish([write(here, "panel/2004.arrow", b"restated")])
    assert there.fetch([path]) == [path]
    assert path.read_bytes() == b"restated"
    store = open_store(here.url)
    contents = {entry["path"] for page in store.list("panel/2004.arrow") for entry in page}
    digests = {hashlib.sha256(content).hexdigest() for content in (b"stated", b"restated")}
    assert {f"panel/2004.arrow/{digest}" for digest in digests} <= contents, "the record of both stays"


def test_a_file_whose_upload_did_not_happen_is_not_there(machine: Machine) -> None:
    """The crash between the local write and the upload: the run failed, so nothing may build on the file."""
    here = machine("here")
    path = write(here, "panel/2004.arrow", b"never uploaded")
    assert here.fetch([path]) == []
    content_without_name = hashlib.sha256(b"never uploaded").hexdigest()
    open_store(here.url).put(f"panel/2004.arrow/{content_without_name}", b"never uploaded")
    assert here.fetch([path]) == [], "a content that nothing names is not a partition"


@pytest.mark.parametrize("fault", ["cut", "changed", "name"])
def test_damage_in_the_store_is_refused_and_nothing_is_written(machine: Machine, fault: str) -> None:
    here, there = machine("here"), machine("there")
    here.publish([write(here, "panel/2004.arrow", b"the content")])
    store, digest = open_store(here.url), hashlib.sha256(b"the content").hexdigest()
    if fault == "name":
        store.put("panel/2004.arrow.sha256", b"../../etc/passwd\n")
    else:
        damaged = b"the cont" if fault == "cut" else b"the c0ntent"
        store.put(f"panel/2004.arrow/{digest}", damaged)
    with pytest.raises(InputError, match="damaged"):
        there.fetch([there.folder / "panel/2004.arrow"])
    assert not there.folder.exists()


def test_readers_beside_a_writer_see_whole_partitions(machine: Machine) -> None:
    """Twenty versions written while another machine reads: every read is one of them, none half."""
    here, there = machine("here"), machine("there")
    versions = [bytes([version]) * 100_000 for version in range(20)]
    path, seen, done = there.folder / "panel/2004.arrow", [], threading.Event()
    here.publish([write(here, "panel/2004.arrow", versions[0])])

    def read() -> None:
        while not done.is_set():
            there.fetch([path])
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in versions:
            here.publish([write(here, "panel/2004.arrow", version)])
    finally:
        done.set()
        reader.join()
    assert seen
    assert all(content in versions for content in seen)


def test_every_file_of_a_folder(machine: Machine) -> None:
    here, there = machine("here").below("vendor"), machine("there").below("vendor")
    for name in ("factors.parquet", "truth.parquet"):
        write(here, name, name.encode())
    here.publish_all()
    assert sorted(path.name for path in there.fetch_all()) == ["factors.parquet", "truth.parquet"]
    assert (there.folder / "truth.parquet").read_bytes() == b"truth.parquet"


def test_without_a_store_files_are_only_local(tmp_path: Path) -> None:
    alone = SharedFolder(tmp_path)
    path = write(alone, "panel/2004.arrow", b"mine")
    alone.publish([path])
    assert alone.fetch([path, tmp_path / "missing"]) == [path]
    assert [file.name for file in tmp_path.rglob("*")] == ["panel", "2004.arrow"]


@pytest.mark.parametrize(
    ("url", "mentions"),
    [
        ("ftp://host/folder", "ftp"),
        ("/srv/folder", "://"),
        ("s3://key:secret@bucket/folder", "password"),
        ("s3://bucket/folder?access_key=1", "query"),
    ],
)
def test_urls_that_are_refused(url: str, mentions: str) -> None:
    """No secret in a URL: it would be shown in the UI and in logs; nor is it in the message."""
    with pytest.raises(InputError, match=mentions) as caught:
        check_store_url(url)
    assert "secret" not in str(caught.value)
