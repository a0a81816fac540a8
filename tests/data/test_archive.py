from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcore.data.archive import (
    ArchiveSettings,
    MonthJob,
    Outcome,
    fetch_all,
    month_jobs,
    stored_checksum,
)
from quantcore.data.archive_tables import (
    ImportReport,
    find_gaps,
    import_outcomes,
    job_series,
    read_zip,
)
from quantcore.data.schema import column, times
from quantcore.data.store import Store
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.timegrid import DAY_US, HOUR_US, to_us

KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
ROOT = "data/futures/um"


class Archive:
    """A loopback server laid out like the exchange's archive, with faults on demand."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.asked: list[str] = []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.lstrip("/")
        self.asked.append(path)
        if self.errors[path]:
            self.errors[path] -= 1
            request.send_error(503)
            return
        content = self.files.get(path)
        if content is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if self.cuts[path]:
            self.cuts[path] -= 1
            request.wfile.write(content[: len(content) // 2])
            request.close_connection = True
            return
        request.wfile.write(content)

    def put(self, path: str, rows: list[str], *, header: str = "", checksum: str = "") -> None:
        name = path.rpartition("/")[2]
        text = "\n".join([*([header] if header else []), *rows]) + "\n"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name.replace(".zip", ".csv"), text)
        content = packed.getvalue()
        digest = checksum or hashlib.sha256(content).hexdigest()
        self.files[path] = content
        self.files[f"{path}.CHECKSUM"] = f"{digest}  {name}\n".encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def archive() -> Iterator[Archive]:
    server = Archive()
    yield server
    server.close()


@pytest.fixture
def settings(archive: Archive, tmp_path: Path) -> ArchiveSettings:
    return make_settings(archive, tmp_path)


def make_settings(archive: Archive, tmp_path: Path, **changed: Any) -> ArchiveSettings:
    values: dict[str, Any] = {
        "base_url": archive.url,
        "raw": str(tmp_path / "raw"),
        "workers": 4,
        "retries": 2,
        "timeout_s": 5.0,
        "backoff_s": 0.0,
        "check_replaced": False,
    }
    return ArchiveSettings(**(values | changed))


def rows(
    first: str, n: int, *, unit: int = 1000, close: float = 101.0, step: int = HOUR_US
) -> list[str]:
    """Return kline rows; `unit` is how many µs a time unit has: 1000 for ms, 1 for µs."""
    start = to_us(first)
    return [
        f"{(start + k * step) // unit},100,102,99,{close},5,{(start + (k + 1) * step) // unit - 1},"
        "505,7,2,202,0"
        for k in range(n)
    ]


def kline_path(period: str, stamp: str, folder: str = "klines") -> str:
    return f"{ROOT}/{period}/{folder}/AUSDT/1h/AUSDT-1h-{stamp}.zip"


def run(
    settings: ArchiveSettings,
    store_root: Path,
    *,
    start: str,
    end: str,
    kinds: tuple[str, ...] = ("klines",),
) -> tuple[list[Outcome], ImportReport, Store]:
    jobs = month_jobs(kinds, ["1h"], ["AUSDT"], start=start, end=end)
    outcomes = fetch_all(settings, jobs, progress=False)
    store = Store.open(str(store_root), create=True)
    return outcomes, import_outcomes(settings, outcomes, store, progress=False), store


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


@pytest.mark.parametrize("header", ["", KLINE_HEADER])
@pytest.mark.parametrize("unit", [1000, 1])
def test_months_are_read_with_and_without_header_in_ms_and_us(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path, header: str, unit: int
) -> None:
    archive.put(kline_path("monthly", "2024-01"), rows("2024-01-01", 744, unit=unit), header=header)
    archive.put(kline_path("monthly", "2024-02"), rows("2024-02-01", 696, unit=unit), header=header)
    outcomes, report, store = run(
        settings, tmp_path / "store", start="2024-01-01", end="2024-03-01"
    )
    assert statuses(outcomes) == ["downloaded", "downloaded"]
    assert (report.rows, report.files, report.duplicates, report.failed) == (1440, 2, 0, ())
    table = store.read("klines", "1h", "AUSDT")
    assert times(table)[[0, -1]].tolist() == [to_us("2024-01-01 01:00"), to_us("2024-03-01")]
    assert column(table, "taker_buy_volume")[0] == 2.0
    assert column(table, "trades")[0] == 7.0
    assert find_gaps(store, [("klines", "1h", "AUSDT")], start="2024-01-01", end="2024-03-01") == []


def test_marks_and_funding_are_loaded_too(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    archive.put(kline_path("monthly", "2024-01", "markPriceKlines"), rows("2024-01-01", 744))
    at = to_us("2024-01-01") // 1000
    lines = [f"{at + k * 8 * 3_600_000 + 12},8,0.0001" for k in range(93)]
    path = f"{ROOT}/monthly/fundingRate/AUSDT/AUSDT-fundingRate-2024-01.zip"
    archive.put(path, lines, header=FUNDING_HEADER)
    outcomes, report, store = run(
        settings,
        tmp_path / "store",
        start="2024-01-01",
        end="2024-02-01",
        kinds=("mark", "funding"),
    )
    assert statuses(outcomes) == ["downloaded", "downloaded"]
    assert report.rows == 744 + 93
    funding = store.read("funding", "event", "AUSDT")
    assert times(funding)[0] == to_us("2024-01-01")
    assert column(funding, "funding_rate").tolist() == [1e-4] * 93
    assert store.read("mark", "1h", "AUSDT").column_names[-1] == "close"


def test_a_missing_month_is_made_of_its_days_and_its_gap_is_reported_not_filled(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    for day in (1, 2, 4):
        archive.put(kline_path("daily", f"2024-01-{day:02d}"), rows(f"2024-01-{day:02d}", 24))
    outcomes, _, store = run(settings, tmp_path / "store", start="2024-01-01", end="2024-01-05")
    assert statuses(outcomes) == ["downloaded", "downloaded", "missing", "downloaded"]
    assert len(store.read("klines", "1h", "AUSDT")) == 72
    (gap,) = find_gaps(store, [("klines", "1h", "AUSDT")], start="2024-01-01", end="2024-01-05")
    assert (gap.first_us, gap.count) == (to_us("2024-01-03 01:00"), 24)


def test_what_is_missing_at_the_end_is_a_gap_and_before_the_listing_is_not(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    archive.put(kline_path("daily", "2024-01-02"), rows("2024-01-02 05:00", 10))
    _, _, store = run(settings, tmp_path / "store", start="2024-01-01", end="2024-01-03")
    (gap,) = find_gaps(store, [("klines", "1h", "AUSDT")], start="2024-01-01", end="2024-01-03")
    assert (gap.first_us, gap.count) == (to_us("2024-01-02 16:00"), 9)


def test_a_rerun_downloads_nothing_and_asks_for_nothing(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    archive.put(kline_path("monthly", "2024-01"), rows("2024-01-01", 744))
    archive.put(kline_path("daily", "2024-02-01"), rows("2024-02-01", 24))
    span: dict[str, Any] = {"start": "2024-01-01", "end": "2024-02-02"}
    run(settings, tmp_path / "store", **span)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    archive.asked.clear()
    outcomes, report, _ = run(settings, tmp_path / "store", **span)
    assert statuses(outcomes) == ["stored", "stored"]
    assert archive.asked == []
    assert (report.rows, report.files) == (0, 0)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == files


def test_a_store_that_was_deleted_is_filled_from_the_stored_zips(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    archive.put(kline_path("monthly", "2024-01"), rows("2024-01-01", 744))
    span: dict[str, Any] = {"start": "2024-01-01", "end": "2024-02-01"}
    run(settings, tmp_path / "store", **span)
    archive.asked.clear()
    _, report, _ = run(settings, tmp_path / "another", **span)
    assert (archive.asked, report.rows) == ([], 744)


def test_a_wrong_checksum_is_tried_again_then_reported_and_nothing_is_kept(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    path = kline_path("monthly", "2024-01")
    archive.put(path, rows("2024-01-01", 744), checksum="0" * 64)
    archive.put(kline_path("monthly", "2024-02"), rows("2024-02-01", 696))
    outcomes, report, store = run(
        settings, tmp_path / "store", start="2024-01-01", end="2024-03-01"
    )
    assert statuses(outcomes) == ["failed", "downloaded"]
    assert outcomes[0].detail.startswith("SHA-256 must be 000000000000…, was ")
    assert archive.asked.count(path) == 3
    assert report.rows == 696
    assert len(store.read("klines", "1h", "AUSDT")) == 696
    kept = sorted(p.name for p in (tmp_path / "raw").rglob("*") if p.is_file())
    assert kept == ["AUSDT-1h-2024-02.zip", "AUSDT-1h-2024-02.zip.CHECKSUM"]


def test_a_connection_cut_in_mid_file_is_tried_again(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    path = kline_path("monthly", "2024-01")
    archive.put(path, rows("2024-01-01", 744))
    archive.cuts[path] = 2
    outcomes, report, _ = run(settings, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    assert (statuses(outcomes), report.rows) == (["downloaded"], 744)


def test_a_connection_that_is_always_cut_is_reported(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    path = kline_path("monthly", "2024-01")
    archive.put(path, rows("2024-01-01", 744))
    archive.cuts[path] = 99
    outcomes, report, _ = run(settings, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    assert (statuses(outcomes), report.rows) == (["failed"], 0)
    assert "connection cut after" in outcomes[0].detail or "IncompleteRead" in outcomes[0].detail
    assert [p for p in (tmp_path / "raw").rglob("*") if p.is_file()] == []


def test_a_server_error_is_tried_again_and_a_dead_host_reported(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    path = kline_path("monthly", "2024-01")
    archive.put(path, rows("2024-01-01", 744))
    archive.errors[path] = 1
    outcomes, _, _ = run(settings, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    assert statuses(outcomes) == ["downloaded"]
    dead = make_settings(archive, tmp_path, base_url="http://127.0.0.1:9", raw=str(tmp_path / "no"))
    outcomes, _, _ = run(dead, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    assert statuses(outcomes) == ["failed"]
    assert outcomes[0].detail == "Connection refused"
    assert not outcomes[0].reached


def test_a_host_that_cannot_be_reached_is_not_asked_for_every_file(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    archive.put(kline_path("monthly", "2024-01"), rows("2024-01-01", 744))
    run(settings, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    dead = make_settings(
        archive, tmp_path, base_url="http://127.0.0.1:9", workers=1, retries=1, backoff_s=0.02
    )
    outcomes, _, _ = run(dead, tmp_path / "store", start="2020-01-01", end="2024-02-01")
    assert (outcomes[0].status, outcomes[0].detail) == ("failed", "Connection refused")
    assert outcomes[-2].detail == "not tried, the host cannot be reached"
    assert outcomes[-1].status == "stored"


def test_a_replaced_file_is_loaded_only_when_asked_for(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    path = kline_path("monthly", "2024-01")
    span: dict[str, Any] = {"start": "2024-01-01", "end": "2024-02-01"}
    archive.put(path, rows("2024-01-01", 744))
    run(settings, tmp_path / "store", **span)
    archive.put(path, rows("2024-01-01", 744, close=100.5))
    assert statuses(run(settings, tmp_path / "store", **span)[0]) == ["stored"]
    asking = make_settings(archive, tmp_path, check_replaced=True)
    outcomes, _, store = run(asking, tmp_path / "store", **span)
    assert statuses(outcomes) == ["downloaded"]
    assert set(column(store.read("klines", "1h", "AUSDT"), "close")) == {100.5}
    archive.asked.clear()
    assert statuses(run(asking, tmp_path / "store", **span)[0]) == ["stored"]
    assert archive.asked == [f"{path}.CHECKSUM"]


def test_a_zip_without_a_whole_table_fails_on_import_and_the_others_go_in(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    archive.put(kline_path("monthly", "2024-01"), ["1704067200000,100,x,y"])
    archive.put(kline_path("monthly", "2024-02"), rows("2024-02-01", 696))
    _, report, _ = run(settings, tmp_path / "store", start="2024-01-01", end="2024-03-01")
    assert (report.rows, report.files) == (696, 1)
    assert "must hold 12 columns of numbers" in report.failed[0].detail


def test_rows_that_repeat_a_time_are_left_out_and_counted(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    doubled = rows("2024-01-01", 24) + rows("2024-01-01 23:00", 2, close=99.5)
    archive.put(kline_path("monthly", "2024-01"), doubled)
    _, report, store = run(settings, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    assert (report.rows, report.duplicates) == (25, 1)
    assert column(store.read("klines", "1h", "AUSDT"), "close")[[23, 24]].tolist() == [101.0, 99.5]


def test_funding_holes_are_reported(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    at = to_us("2024-01-01") // 1000
    lines = [f"{at + h * 3_600_000},8,0.0001" for h in (0, 8, 24)]
    archive.put(f"{ROOT}/monthly/fundingRate/AUSDT/AUSDT-fundingRate-2024-01.zip", lines)
    span: dict[str, Any] = {"start": "2024-01-01", "end": "2024-01-03"}
    outcomes, _, store = run(settings, tmp_path / "store", kinds=("funding",), **span)
    (gap,) = find_gaps(store, [job_series(outcomes[0].job)], **span)
    assert (gap.first_us, gap.count) == (to_us("2024-01-01 08:00"), 16)


def test_jobs_cover_the_span_month_by_month() -> None:
    jobs = month_jobs(
        ["klines", "funding"], ["1h", "4h"], ["AUSDT"], start="2023-12-15", end="2024-02-02"
    )
    days = [(str(j.first), str(j.last)) for j in jobs[:3]]
    assert days == [
        ("2023-12-15", "2023-12-31"),
        ("2024-01-01", "2024-01-31"),
        ("2024-02-01", "2024-02-01"),
    ]
    assert [j.kind for j in jobs] == ["klines"] * 6 + ["funding"] * 3
    assert jobs[0].monthly == f"{ROOT}/monthly/klines/AUSDT/1h/AUSDT-1h-2023-12.zip"
    assert jobs[0].dailies[0] == f"{ROOT}/daily/klines/AUSDT/1h/AUSDT-1h-2023-12-15.zip"
    assert jobs[-1].monthly.endswith("monthly/fundingRate/AUSDT/AUSDT-fundingRate-2024-02.zip")
    assert jobs[-1].dailies == []
    with pytest.raises(ConfigError, match="kinds must be among klines, mark, funding, was trades"):
        month_jobs(["trades"], ["1h"], ["AUSDT"], start="2024-01-01", end="2024-02-01")
    with pytest.raises(ConfigError, match="start must be before end"):
        month_jobs(["klines"], ["1h"], ["AUSDT"], start="2024-01-01", end="2024-01-01")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "file:///x"),
        ("workers", 0),
        ("retries", -1),
        ("timeout_s", 0.0),
        ("backoff_s", -1.0),
    ],
)
def test_settings_out_of_range_are_refused(
    archive: Archive, tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=f"{name} must"):
        make_settings(archive, tmp_path, **{name: value})


def test_what_is_no_zip_of_one_table_is_refused() -> None:
    (job,) = month_jobs(["klines"], ["1h"], ["AUSDT"], start="2024-01-01", end="2024-01-02")
    assert isinstance(job, MonthJob)
    with pytest.raises(SchemaMismatch, match="x must be a zip file, was not"):
        read_zip(b"no zip", job, "x")
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w"):
        pass
    with pytest.raises(SchemaMismatch, match="x must hold one CSV file, held 0"):
        read_zip(empty.getvalue(), job, "x")


def test_the_published_checksum_is_kept_beside_the_zip(
    archive: Archive, settings: ArchiveSettings, tmp_path: Path
) -> None:
    path = kline_path("monthly", "2024-01")
    archive.put(path, rows("2024-01-01", 31, step=DAY_US))
    run(settings, tmp_path / "store", start="2024-01-01", end="2024-02-01")
    content = (tmp_path / "raw" / path).read_bytes()
    assert stored_checksum(settings, path) == hashlib.sha256(content).hexdigest()
    assert np.array_equal(
        np.frombuffer(content, np.uint8), np.frombuffer(archive.files[path], np.uint8)
    )
