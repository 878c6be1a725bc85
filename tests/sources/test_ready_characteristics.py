"""Sources that deliver characteristics: GKX's file, Open Source Asset Pricing, a panel of one's own."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.pipeline import prepare_data
from seqpricing_core.source_configs import GKX_CHARACTERISTICS
from seqpricing_core.sources import open_source, prepare_source
from seqpricing_core.sources.open_asset_pricing import read_long_short_portfolios
from seqpricing_core.study import Study, load_study

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
MONTHS = pl.date_range(dt.date(1999, 1, 1), dt.date(2003, 12, 1), "1mo", eager=True).dt.month_end().to_list()
STOCKS = 40
NAMES = ["bm", "mom1m", "mvel1", "turn"]


@pytest.fixture(scope="module")
def market() -> dict[str, np.ndarray[Any, Any]]:
    """(month, stock) returns and characteristics, known at the month's end."""
    random = np.random.default_rng(8)
    shape = (len(MONTHS), STOCKS)
    ret = random.normal(0.01, 0.08, shape).round(6)
    ret[5, 3] = np.nan
    values = {name: random.normal(size=shape).round(6) for name in ("bm", "mvel1", "turn")}
    values["bm"][10, 4] = np.nan
    return values | {"mom1m": ret, "ret": ret, "prc": random.uniform(5, 50, shape).round(3)}


def write_returns(file: Path, market: dict[str, Any], *, scale: float = 1.0, first_month: int = 0) -> Path:
    """As WRDS's web query exports it: letters for missing returns, a negative price, thousands of shares."""
    lines = ["PERMNO,date,SHRCD,EXCHCD,PERMCO,DLSTCD,DLRET,PRC,VOL,RET,SHROUT"]
    for t, month in enumerate(MONTHS[first_month:], start=first_month):
        for i in range(STOCKS):
            ret = market["ret"][t, i]
            text = "C" if np.isnan(ret) else f"{ret * scale:.6f}"
            sign = "-" if (t, i) == (7, 7) else ""
            price = market["prc"][t, i]
            lines.append(
                f"{10001 + i},{month:%Y%m%d},11,{1 + i % 3},{500 + i},,,{sign}{price},100,{text},2000"
            )
    file.write_text("\n".join(lines) + "\n")
    return file


def write_gkx(file: Path, market: dict[str, Any], *, shift: int = 1) -> Path:
    """``datashare.csv``: a row dated t + shift holds what was known at the end of t; 90 columns are empty."""
    others = [name for name in GKX_CHARACTERISTICS if name not in NAMES]
    lines = [",".join(["permno", "DATE", *NAMES, *others, "sic2"])]
    for i in range(STOCKS):  # by stock, then month: years come mixed
        for t in range(len(MONTHS) - shift):
            cells = ["" if np.isnan(v := market[name][t, i]) else f"{v:.6f}" for name in NAMES]
            lines.append(f"{10001 + i},{MONTHS[t + shift]:%Y%m%d},{','.join(cells)}{',' * len(others)},35")
    text = "\n".join(lines) + "\n"
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("datashare.csv", text)
    else:
        file.write_text(text)
    return file


@pytest.fixture
def factors(tmp_path: Path) -> Path:
    file = tmp_path / "ff.csv"
    rows = "".join(f"{month:%Y%m},   1.00,   0.10,   0.20,   0.25\n" for month in MONTHS)
    file.write_text(f"Created.\n\n,Mkt-RF,SMB,HML,RF\n{rows}\nCopyright\n")
    return file


SAMPLE = {
    "sample": {"first_month": "2000-01", "last_month": "2003-12"},
    "windows": {"train_years": 1, "validation_years": 1},
    "universe": {"minimum_history_months": 1, "require": []},
    "models": {"ipca": {}},
}


@pytest.fixture
def gkx(
    tmp_path: Path, market: dict[str, Any], factors: Path, make_study: Callable[..., Study]
) -> Callable[..., Study]:
    def make(**changes: Any) -> Study:
        suffix = changes.pop("suffix", "zip")
        source = {
            "kind": "gkx_files",
            "characteristics_file": str(write_gkx(tmp_path / f"datashare.{suffix}", market)),
            "returns": str(write_returns(tmp_path / "crsp.csv", market)),
            "factors": str(factors),
        }
        return make_study(source=source | changes, characteristics=NAMES, **SAMPLE)

    return make


def expected_ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """2 rank / (N + 1) - 1 of one month, the median where missing: slowly."""
    filled = np.where(np.isnan(values), np.nanmedian(values), values)
    ranks = [(np.sum(filled < v) + (np.sum(filled == v) + 1) / 2) for v in filled]
    return np.array([2 * rank / (len(filled) + 1) - 1 for rank in ranks])


@pytest.mark.parametrize("suffix", ["zip", "csv"])
def test_gkx_panel_pairs_what_was_known_with_the_next_return(
    gkx: Callable[..., Study], market: dict[str, Any], tmp_path: Path, suffix: str
) -> None:
    """The whole way into the panel, month by month against arrays."""
    study = gkx(suffix=suffix)
    data = prepare_data(study, tmp_path / "out")
    panel = data.panel(2000, 2003)
    assert panel.characteristic_names == tuple(NAMES)
    for t, month in enumerate(panel.months):
        rows = panel.rows(t)
        now = int((month - np.datetime64("1999-01", "M")).astype(int))
        assert len(panel.asset_id[rows]) == STOCKS
        for j, name in enumerate(NAMES):
            known = expected_ranks(market[name][now - 1])
            np.testing.assert_allclose(panel.characteristics[rows, j], known, atol=1e-6)
        np.testing.assert_allclose(panel.excess_return[rows], market["ret"][now] - 0.0025, atol=1e-12)
        np.testing.assert_allclose(panel.market_equity[rows], market["prc"][now - 1] * 2e6, rtol=1e-12)


def test_all_means_the_94_and_they_must_all_be_there(gkx: Callable[..., Study], tmp_path: Path) -> None:
    study = gkx(suffix="csv").model_copy(update={"characteristics": "all"})
    assert len(study.acronyms) == len(set(study.acronyms)) == 94
    text = (tmp_path / "datashare.csv").read_text().replace("zerotrade", "zero_trade")
    (tmp_path / "datashare.csv").write_text(text)
    with pytest.raises(InputError, match="missing column: zerotrade"):
        prepare_source(study, tmp_path / "out")


def test_dates_that_would_look_ahead_are_refused(
    gkx: Callable[..., Study], market: dict[str, Any], tmp_path: Path
) -> None:
    """The last month's return gives away in which month a row was known."""
    study = gkx()
    assert prepare_source(study, tmp_path / "right")
    write_gkx(tmp_path / "datashare.zip", market, shift=0)  # dated with the month of the last return
    with pytest.raises(InputError, match="look into the future"):
        prepare_source(study, tmp_path / "wrong")
    assert prepare_source(gkx_known(study), tmp_path / "known")
    write_gkx(tmp_path / "datashare.zip", market, shift=1)
    with pytest.raises(InputError, match="before the one"):
        prepare_source(gkx_known(study), tmp_path / "late")


def gkx_known(study: Study) -> Study:
    return study.model_copy(update={"source": study.source.model_copy(update={"month": "known"})})


def test_cut_by_year_once_and_again_when_the_file_changes(
    gkx: Callable[..., Study], market: dict[str, Any], tmp_path: Path
) -> None:
    study = gkx()
    prepare_source(study, tmp_path / "out")
    years = tmp_path / "out" / "characteristics_by_year"
    assert sorted(file.name for file in years.iterdir()) == [
        "1999.parquet", "2000.parquet", "2001.parquet", "2002.parquet", "2003.parquet", "made_from.json",
    ]  # fmt: skip
    stamp = (years / "2001.parquet").stat().st_mtime_ns
    prepare_source(study, tmp_path / "out")
    assert (years / "2001.parquet").stat().st_mtime_ns == stamp
    changed = market | {"bm": market["bm"] + 1}
    write_gkx(tmp_path / "datashare.zip", changed)
    prepare_source(study, tmp_path / "out")
    found = open_source(study, tmp_path / "out").characteristics(2001)
    first = found.filter(pl.col("asset_id") == 10001, pl.col("month") == dt.date(2001, 1, 31))
    assert first["bm"].item() == pytest.approx(changed["bm"][24, 0])
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".tmp")]


def test_memory_stays_that_of_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file passes in many chunks, years mixed, and comes back whole."""
    from seqpricing_core.sources import year_files
    from seqpricing_core.sources.year_files import YearFiles

    monkeypatch.setattr(year_files, "BUFFER_BYTES", 20_000)
    held: list[int] = []
    days = pl.date_range(dt.date(2000, 1, 1), dt.date(2002, 12, 31), "1d", eager=True)

    def batches() -> Any:
        for place in range(50):
            held.append(place)
            yield pl.DataFrame({"day": days, "value": [float(place)] * len(days)})

    source = tmp_path / "source"
    source.write_bytes(b"x")
    files = YearFiles(tmp_path / "years", (source,))
    files.write(batches(), "day")
    parts = [files.read(year) for year in files.years()]
    assert [len(part) for part in parts if part is not None] == [366 * 50, 365 * 50, 365 * 50]

    def broken() -> Any:
        yield from batches()
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        files.write(broken(), "day")
    assert files.read(2000) is not None  # the old years stand
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "years"]


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        (lambda text: text.replace("permno,DATE", "id,DATE"), "missing column: permno"),
        (lambda text: text + text.splitlines()[5] + "\n", "duplicate (asset_id, month)"),
        (lambda text: text.replace(",35\n", "\n", 1), "cannot be read"),
        (lambda text: text[: len(text) // 2] + "1,2", "cannot be read"),
        (lambda text: text.replace("19990226", "14301", 1).replace("19990228", "14301", 1), "14301"),
        (lambda text: "<html>Log in</html>", "web page"),
        (lambda text: text.replace("10001,", "ten,", 1), "ten"),
    ],
)
def test_bad_characteristics(
    gkx: Callable[..., Study], tmp_path: Path, change: Callable[[str], str], mention: str
) -> None:
    study = gkx(suffix="csv")
    file = tmp_path / "datashare.csv"
    file.write_text(change(file.read_text()))

    def read() -> None:
        source = prepare_source(study, tmp_path / "out")
        for year in range(1999, 2004):
            source.characteristics(year)

    with pytest.raises(InputError, match="datashare") as caught:
        read()
    assert mention in str(caught.value)
    assert not (tmp_path / "out" / ".characteristics_by_year.tmp").exists()


def test_bad_zip_and_encoding(gkx: Callable[..., Study], tmp_path: Path) -> None:
    study = gkx()
    whole = (tmp_path / "datashare.zip").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:500] + b"\0" * 300 + whole[800:]):
        (tmp_path / "datashare.zip").write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            prepare_source(study, tmp_path / "out")
    text = gkx(suffix="csv")
    content = (tmp_path / "datashare.csv").read_bytes()
    (tmp_path / "datashare.csv").write_bytes(content.replace(b"20000131", b"2000013\xfc", 1))
    with pytest.raises(InputError, match="not UTF-8"):
        prepare_source(text, tmp_path / "out")


def test_returns_in_percent_whole_or_mixed(
    gkx: Callable[..., Study], market: dict[str, Any], tmp_path: Path
) -> None:
    study = gkx()
    write_returns(tmp_path / "crsp.csv", market, scale=100)
    with pytest.raises(InputError, match="returns in percent\n"):
        prepare_source(study, tmp_path / "out").stock_months(2001)
    late = market | {
        "ret": np.where(np.arange(len(MONTHS))[:, None] > 30, market["ret"] * 100, market["ret"])
    }
    write_returns(tmp_path / "crsp.csv", late)
    with pytest.raises(InputError, match="percent in some months, decimal in others"):
        prepare_source(study, tmp_path / "out").stock_months(2001)


def test_return_file_reads_crsps_signs_and_codes(
    gkx: Callable[..., Study], market: dict[str, Any], tmp_path: Path
) -> None:
    study = gkx()
    file = tmp_path / "crsp.csv"
    text = file.read_text().splitlines()
    last = {i: row for i, row in enumerate(text) if row.split(",")[1] == "20031231"}
    place, row = next(iter(last.items()))
    cells = row.split(",")
    cells[5:7], cells[9] = ["552", ""], "0.100000"  # dropped for its price, on the NYSE, no delisting return
    text[place] = ",".join(cells)
    file.write_text("\n".join([*text, text[3]]) + "\n")  # and a row repeated by the export
    source = prepare_source(study, tmp_path / "out")
    rows = source.stock_months(2003)
    dropped = rows.filter(pl.col("asset_id") == int(cells[0]), pl.col("month") == dt.date(2003, 12, 31))
    assert dropped["ret"].item() == pytest.approx(1.1 * 0.7 - 1)
    assert dropped["delisting_code"].item() == 552
    first = source.stock_months(1999)
    negative = first.filter(pl.col("asset_id") == 10008, pl.col("month") == MONTHS[7])
    assert negative["price"].item() == market["prc"][7, 7]
    assert negative["market_equity"].item() == pytest.approx(market["prc"][7, 7] * 2e6)
    lettered = first.filter(pl.col("asset_id") == 10004, pl.col("month") == MONTHS[5])
    assert lettered["ret"].item() is None
    assert set(first["exchange"].unique()) == {"NYSE", "AMEX", "NASDAQ"}
    assert first["dollar_volume"][0] == pytest.approx(first["unadjusted_price"][0] * 100 * 100)
    assert "stock_months.market_equity" in source.inputs()
    assert "stock_months.sic" not in source.inputs()


def test_two_different_rows_of_a_month_are_refused(gkx: Callable[..., Study], tmp_path: Path) -> None:
    study = gkx()
    file = tmp_path / "crsp.csv"
    text = file.read_text()
    row = text.splitlines()[4].split(",")
    row[9] = "0.500000"
    file.write_text(text + ",".join(row) + "\n")
    with pytest.raises(InputError, match=r"duplicate \(asset_id, month\)"):
        prepare_source(study, tmp_path / "out").stock_months(1999)


def test_current_layout_of_returns(gkx: Callable[..., Study], market: dict[str, Any], tmp_path: Path) -> None:
    """Names, letters and thousands of CIZ; the delisting return is in ``MthRet`` already."""
    study = gkx()
    legacy = prepare_source(study, tmp_path / "legacy").stock_months(2001)
    lines = ["PERMNO,PERMCO,MthCalDt,MthRet,MthPrc,MthCap,MthVol,ShrOut,PrimaryExch"]
    for t, month in enumerate(MONTHS):
        for i in range(STOCKS):
            ret = market["ret"][t, i]
            text = "" if np.isnan(ret) else f"{ret:.6f}"
            price = market["prc"][t, i]
            lines.append(
                f"{10001 + i},{500 + i},{month},{text},{price},{price * 2000},10000,2000,{'NAQ'[i % 3]}"
            )
    (tmp_path / "crsp.csv").write_text("\n".join(lines) + "\n")
    current = prepare_source(study, tmp_path / "current").stock_months(2001)
    columns = ["asset_id", "month", "ret", "price", "dollar_volume", "shares", "exchange", "company_id"]
    assert current.select(columns).equals(legacy.select(columns))
    assert (current["market_equity"] / legacy["market_equity"] - 1).abs().max() < 1e-12


def test_open_asset_pricing(
    tmp_path: Path, market: dict[str, Any], factors: Path, make_study: Callable[..., Study]
) -> None:
    """``yyyymm`` is the month at whose end a predictor is known: it prices the next one."""
    lines = ["permno,yyyymm,BM,Mom12m,Accruals"]
    for t, month in enumerate(MONTHS):
        lines += [
            f"{10001 + i},{month:%Y%m},{market['turn'][t, i]},{market['mvel1'][t, i]}," for i in range(STOCKS)
        ]
    file = tmp_path / "signed_predictors_dl_wide.csv"
    file.write_text("\n".join(lines) + "\n")
    source = {
        "kind": "open_asset_pricing", "predictors_file": str(file), "predictors": ["BM", "Mom12m"],
        "returns": str(write_returns(tmp_path / "crsp.csv", market)), "factors": str(factors),
    }  # fmt: skip
    study = make_study(source=source, characteristics="all", **SAMPLE)
    panel = prepare_data(study, tmp_path / "out").panel(2000, 2003)
    for t, month in enumerate(panel.months):
        now = int((month - np.datetime64("1999-01", "M")).astype(int))
        rows = panel.rows(t)
        np.testing.assert_allclose(
            panel.characteristics[rows, 0], expected_ranks(market["turn"][now - 1]), atol=1e-6
        )
        np.testing.assert_allclose(panel.excess_return[rows], market["ret"][now] - 0.0025, atol=1e-12)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the checkout")
def test_real_long_short_portfolios(tmp_path: Path) -> None:
    """Figures that SOURCES.md gives: 212 predictors, 32% missing, mean 0.50% a month."""
    file = REAL / "osap_predictor_ls_ret_wide_1926_2022.parquet"
    table = read_long_short_portfolios(file)
    values = pl.concat(table.drop("month").get_columns())
    assert table.shape == (1164, 213)
    assert values.null_count() / len(values) == pytest.approx(0.32, abs=0.01)
    assert table.drop("month").mean().mean_horizontal().item() == pytest.approx(0.0050, abs=0.0003)
    divided = tmp_path / "divided.parquet"
    pl.read_parquet(file).with_columns(pl.all().exclude("date") / 100).write_parquet(divided)
    with pytest.raises(InputError, match="percent, as published"):
        read_long_short_portfolios(divided)


@pytest.fixture
def mapped(
    tmp_path: Path, market: dict[str, Any], factors: Path, make_study: Callable[..., Study]
) -> Callable[..., Study]:
    """A panel whose rows pair characteristics of t - 1 with the return of t, in a user's words."""

    def make(transform: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows, **changes: Any) -> Study:
        rows = pl.DataFrame([
            {
                "stock": 10001 + i, "when": month, "r": market["ret"][t, i],
                "book_to_market": market["bm"][t - 1, i], "size": market["mvel1"][t - 1, i],
                "me": market["prc"][t, i],
            }
            for t, month in enumerate(MONTHS) if t for i in range(STOCKS)
        ])  # fmt: skip
        file = tmp_path / "mine.parquet"
        transform(rows.with_columns(pl.col("r").fill_nan(None))).write_parquet(file)
        source = {
            "kind": "mapped_files", "panel": str(file), "factors": str(factors), "month": "priced",
            "columns": {"asset_id": "stock", "month": "when", "ret": "r", "market_equity": "me"},
            "characteristics": {"bm": "book_to_market", "mvel1": "size"},
        }  # fmt: skip
        return make_study(source=source | changes, characteristics="all", **SAMPLE)

    return make


def test_own_panel(mapped: Callable[..., Study], market: dict[str, Any], tmp_path: Path) -> None:
    plain = prepare_data(mapped(), tmp_path / "plain").panel(2000, 2003)
    assert plain.characteristic_names == ("bm", "mvel1")
    rows = plain.rows(12)
    np.testing.assert_allclose(plain.characteristics[rows, 0], expected_ranks(market["bm"][23]), atol=1e-6)
    np.testing.assert_allclose(plain.excess_return[rows], market["ret"][24] - 0.0025, atol=1e-12)
    np.testing.assert_allclose(plain.market_equity[rows], market["prc"][23])
    percent = mapped(
        lambda r: r.with_columns(pl.col("r") * 100 - 0.25), returns="percent", excess_returns=True
    )
    again = prepare_data(percent, tmp_path / "percent").panel(2000, 2003)
    np.testing.assert_allclose(again.excess_return, plain.excess_return, atol=1e-12)


@pytest.mark.parametrize(
    ("transform", "changes", "mention"),
    [
        (lambda rows: pl.concat([rows, rows.head(1)]), {}, "duplicate (asset_id, month)"),
        (lambda rows: rows.with_columns(pl.col("r") * 100), {}, "returns in percent"),
        (lambda rows: rows.with_columns(pl.col("when").cast(pl.Int32)), {}, "counts of days"),
        (lambda rows: rows.drop("size"), {}, "missing column: size"),
        (lambda rows: rows, {"columns": {"asset_id": "stock", "month": "when"}}, "no column for 'ret'"),
        (
            lambda rows: rows,
            {"columns": {"asset_id": "stock", "month": "when", "ret": "r", "colour": "me"}},
            "unknown column 'colour'",
        ),
        (lambda rows: rows.with_columns(pl.col("r").cast(pl.String) + "%"), {}, "column 'r'"),
    ],
)
def test_bad_own_panels(
    mapped: Callable[..., Study], tmp_path: Path, transform: Any, changes: dict[str, Any], mention: str
) -> None:
    study = mapped(transform, **changes)

    def read() -> None:
        source = prepare_source(study, tmp_path / "out")
        source.stock_months(2001)
        source.stock_months(1999)

    with pytest.raises(InputError) as caught:
        read()
    assert mention in str(caught.value)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
def test_days_are_those_of_the_clock_that_wrote_them(
    mapped: Callable[..., Study], tmp_path: Path, zone: str | None
) -> None:
    """Midnight of the last day of a month in New York is that day, whatever it is in Greenwich."""

    def stamped(rows: pl.DataFrame) -> pl.DataFrame:
        times = pl.col("when").cast(pl.Datetime("us")) + pl.duration(hours=22)
        return rows.with_columns(times.dt.replace_time_zone(zone).alias("when"))

    plain = prepare_source(mapped(), tmp_path / "plain").stock_months(2001)
    assert prepare_source(mapped(stamped), tmp_path / "zoned").stock_months(2001).equals(plain)


def test_names_of_the_source_are_checked_in_the_study_file(
    gkx: Callable[..., Study], settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    import yaml

    source = gkx().source.model_dump(mode="json")
    for changes, mention in (
        ({"characteristics": ["bm", "mom1mm"]}, "did you mean 'mom1m'?"),
        ({"universe": {"require": ["Size"]}}, "acronyms of the source; for 'Size'"),
        ({"universe": {"require": ["Size"]}}, "key universe.require"),
    ):
        content = settings(source=source, **({"characteristics": NAMES} | SAMPLE | changes))
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_study(tmp_path / "study.yaml")
        assert mention in str(caught.value)


def test_a_source_without_size_says_what_to_require(mapped: Callable[..., Study]) -> None:
    settings = mapped().model_dump(mode="json")
    settings["models"] = {"ipca": {}}
    settings["source"]["characteristics"] = {"bm": "book_to_market"}
    settings["number_of_factors"] = [1]
    del settings["universe"]
    with pytest.raises(ValueError, match=r"such as \{require: \[\]\}, not 'mvel1'"):
        Study.model_validate(settings)


def test_through_dagster(gkx: Callable[..., Study], tmp_path: Path) -> None:
    """Assets give the bytes of the plain functions, and the raw characteristics stand in the lineage."""
    import dagster as dg

    from seqpricing_core.panel.panel import Panel
    from seqpricing_dagster.assets.panel import panel_assets
    from seqpricing_dagster.assets.raw import raw_assets
    from seqpricing_dagster.io import io_managers
    from seqpricing_dagster.partitions import years_of
    from seqpricing_dagster.project import Project
    from seqpricing_dagster.run import stages_of

    study = gkx()
    plain = prepare_data(study, tmp_path / "plain").panels[2001]
    project = Project(study, tmp_path / "dagster")
    assert "raw/ready_characteristics" in [key for stage in stages_of(project) for key in stage.assets]
    assets = [*raw_assets(project, years_of(study)), *panel_assets(project, years_of(study))]
    years: dict[str, Any] = {
        "raw/vendor_files": [None],
        "raw/stock_months": range(1999 - study.history_years, 2002), "raw/factors": [2001],
        "raw/ready_characteristics": [2000, 2001], "panel/characteristics": [2000, 2001],
        "panel/panel": [2001],
    }  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        for key, partitions in years.items():
            for year in partitions:
                done = dg.materialize(
                    assets,
                    selection=dg.AssetSelection.assets(dg.AssetKey(key.split("/"))),
                    instance=instance,
                    partition_key=None if year is None else str(year),
                    resources=io_managers(project.files.below("assets")),
                )
                assert done.success
    [file] = (project.assets / "panel" / "panel").glob("*2001*")
    assert Panel.from_files([file]).to_bytes() == plain.to_bytes()
