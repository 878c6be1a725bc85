"""Files: whole or not at all, byte for byte the same after a round trip."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.predictions import predict_test_year
from seqpricing_core.sources.simulated import write_simulated_market
from seqpricing_core.storage import (
    Artifact,
    fingerprint,
    fingerprint_files,
    frame_from_files,
    frame_to_bytes,
    scan_table,
    write_atomically,
)
from seqpricing_core.study import SimulatedSource


class Interrupted(Exception):  # noqa: N818
    """Stands for a full disk, a crash, an interrupt."""


def interrupt(*args, **kwargs):
    raise Interrupted


class TestAtomicWrite:
    def test_writes_and_replaces(self, tmp_path):
        file = tmp_path / "new" / "folders" / "a.bin"
        write_atomically(file, b"old")
        write_atomically(file, b"new content")
        assert file.read_bytes() == b"new content"
        assert list(file.parent.iterdir()) == [file]

    @pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")], ids=["fsync", "rename"])
    def test_a_failure_in_the_middle_leaves_the_old_content(self, tmp_path, monkeypatch, owner, name):
        file = tmp_path / "a.bin"
        file.write_bytes(b"old")
        monkeypatch.setattr(owner, name, interrupt)
        with pytest.raises(Interrupted):
            write_atomically(file, b"new")
        assert file.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [file]

    def test_a_failure_while_writing_leaves_the_old_content(self, tmp_path):
        file = tmp_path / "a.bin"
        file.write_bytes(b"old")
        with pytest.raises(TypeError):
            write_atomically(file, "text is no bytes")
        assert file.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [file]

    def test_a_failure_leaves_nothing_where_nothing_was(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(Interrupted):
            write_atomically(tmp_path / "a.bin", b"new")
        assert list(tmp_path.iterdir()) == []

    def test_content_is_on_disk_before_the_name_is(self, tmp_path, monkeypatch):
        """The order that survives a power cut: fsync of the file, rename, fsync of the folder."""
        steps = []
        real_fsync, real_replace = os.fsync, Path.replace

        def fsync(descriptor):
            folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            steps.append("fsync folder" if folder else "fsync file")
            real_fsync(descriptor)

        def replace(self, target):
            steps.append("rename")
            return real_replace(self, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)
        write_atomically(tmp_path / "a.bin", b"new")
        assert steps == ["fsync file", "rename", "fsync folder"]

    def test_a_market_that_fails_half_way_leaves_whole_files_only(self, tmp_path, monkeypatch):
        """The third of four files fails: two whole ones, no trace of the others."""
        calls = []
        real = Path.replace

        def third_fails(self, target):
            calls.append(target)
            if len(calls) == 3:
                raise Interrupted
            return real(self, target)

        monkeypatch.setattr(Path, "replace", third_fails)
        source = SimulatedSource(kind="simulated", stocks=20)
        with pytest.raises(Interrupted):
            write_simulated_market(source, 2000, 2000, tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted(calls[:2])
        assert all(len(pl.read_parquet(file)) for file in calls[:2])


class TestRoundTrips:
    """What comes back from a file is byte for byte what went in."""

    def test_panel(self, small, tmp_path):
        panel, file = small.panels[2004], tmp_path / "panel.arrow"
        file.write_bytes(panel.to_bytes())
        back = Panel.from_files([file])
        assert back.to_bytes() == panel.to_bytes()
        assert back.characteristic_names == panel.characteristic_names
        for name in ("months", "offsets", "asset_id", "characteristics", "excess_return", "market_equity"):
            before, after = getattr(panel, name), getattr(back, name)
            assert after.dtype == before.dtype, name
            assert after.tobytes() == before.tobytes(), name

    def test_panel_is_mapped_not_copied(self, small, tmp_path):
        file = tmp_path / "panel.arrow"
        file.write_bytes(small.panels[2004].to_bytes())
        assert not Panel.from_files([file]).characteristics.flags.owndata

    def test_panel_of_several_years(self, small, tmp_path):
        """Files of single years against the panel that was never written."""
        files = []
        for year in (2002, 2003, 2004):
            files.append(tmp_path / f"{year}.arrow")
            files[-1].write_bytes(small.panels[year].to_bytes())
        assert Panel.from_files(files).to_bytes() == small.panel(2002, 2004).to_bytes()

    def test_panels_out_of_order_or_of_other_characteristics(self, small, make_arrays):
        with pytest.raises(ValueError, match="follow each other"):
            Panel.concatenate([small.panels[2003], small.panels[2002]])
        with pytest.raises(ValueError, match="same characteristics"):
            Panel.concatenate([small.panels[2003], make_arrays().panel])

    def test_managed_portfolios(self, small, tmp_path):
        files = []
        for year in (2003, 2004):
            files.append(tmp_path / f"{year}.safetensors")
            files[-1].write_bytes(small.managed[year].to_bytes())
        back, whole = ManagedPortfolios.from_files(files), small.managed_portfolios(2003, 2004)
        assert back.to_bytes() == whole.to_bytes()
        for name in ("months", "gram", "cross", "x", "condition_number", "stocks"):
            assert getattr(back, name).tobytes() == getattr(whole, name).tobytes(), name

    @pytest.mark.parametrize("family", ["ipca", "ca0", "ca1", "ca2", "ca3", "seqrat", "seqgat", "seqlat"])
    def test_fitted_family(self, small, tmp_path, family):
        """Same bytes, and the same predictions bit for bit."""
        fitted, file = small.fitted[family], tmp_path / "fitted.safetensors"
        file.write_bytes(fitted.to_bytes())
        back = FittedFamily.from_files([file])
        assert back.to_bytes() == fitted.to_bytes()
        assert (back.config, back.window) == (fitted.config, fitted.window)
        assert list(back.models) == [1, 2]
        before, after = (json.dumps(f.models[2][0].record, sort_keys=True) for f in (fitted, back))
        assert after == before
        test = small.test_sample(2004)
        assert predict_test_year(back, test).equals(predict_test_year(fitted, test))

    def test_frames(self, results, tmp_path):
        frame, file = results.portfolio_returns, tmp_path / "frame.arrow"
        file.write_bytes(frame_to_bytes(frame))
        back = frame_from_files([file, file])
        assert back.equals(pl.concat([frame, frame]))
        assert frame_to_bytes(back.head(len(frame))) == frame_to_bytes(frame)

    def test_rows_left_out_leave_nothing_in_the_file(self):
        values = [None if i % 3 else i / 7 for i in range(100)]
        frame = pl.DataFrame({"x": values, "s": [None if v is None else str(v) for v in values]})
        part = frame.head(37)
        afresh = pl.DataFrame({name: part[name].to_list() for name in part.columns}, schema=part.schema)
        assert frame_to_bytes(part) == frame_to_bytes(afresh)

    def test_all_are_artifacts(self, small):
        for thing in (small.panels[2004], small.managed[2004], small.fitted["ipca"]):
            assert isinstance(thing, Artifact)

    def test_an_error_survives_the_way_back_from_another_process(self):
        error = InputError("what", where="where", expected="expected", remedy="remedy")
        back = pickle.loads(pickle.dumps(error))
        assert (str(back), back.where, type(back)) == (str(error), error.where, InputError)


class TestFingerprints:
    def test_follow_the_content(self, tmp_path):
        first, second = tmp_path / "a.csv", tmp_path / "b.csv"
        first.write_bytes(b"x,y\n1,2\n")
        second.write_bytes(b"x,y\n1,2\n")
        before = fingerprint_files([first, second])
        assert fingerprint_files([second, first]) == before
        second.write_bytes(b"x,y\n1,3\n")
        assert fingerprint_files([first, second]) != before

    def test_do_not_follow_the_folder(self, tmp_path):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a.csv").write_bytes(b"same")
        one, two = (fingerprint_files([tmp_path / f / "a.csv"]) for f in ("one", "two"))
        assert one == two

    def test_content_does_not_slip_between_files(self, tmp_path):
        """'ab' + 'c' is not 'a' + 'bc'."""
        files = [tmp_path / "1", tmp_path / "2"]
        prints = []
        for contents in ((b"ab", b"c"), (b"a", b"bc")):
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(content)
            prints.append(fingerprint_files(files))
        assert prints[0] != prints[1]

    def test_of_a_panel_sees_one_bit(self, small):
        """A restated return changes the data version."""
        panel = small.panels[2004]
        returns = panel.excess_return.copy()
        returns[17] = np.nextafter(returns[17], 1)
        other = Panel(
            panel.characteristic_names, panel.months, panel.offsets, panel.asset_id,
            panel.characteristics, returns, panel.market_equity,
        )  # fmt: skip
        assert fingerprint(other.to_bytes()) != fingerprint(panel.to_bytes())


class TestUnreadableTables:
    @pytest.mark.parametrize("suffix", [".xlsx", ".feather", ""])
    def test_unknown_format(self, tmp_path, refuses, suffix):
        file = tmp_path / f"prices{suffix}"
        file.write_bytes(b"x")
        refuses(lambda: scan_table(file), str(file), ".csv or .parquet")

    def test_missing(self, tmp_path, refuses):
        refuses(lambda: scan_table(tmp_path / "none.csv"), "does not exist", str(tmp_path / "none.csv"))

    def test_empty_csv(self, tmp_path, refuses):
        (tmp_path / "a.csv").write_bytes(b"")
        refuses(lambda: scan_table(tmp_path / "a.csv"), "cannot be read as csv", "a.csv")
