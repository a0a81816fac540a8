"""Downloader of the exchange's public archive: monthly, then daily zips, each verified by its SHA-256 checksum."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from quantcore.errors import ConfigError, VenueError
from quantcore.timegrid import to_timestamp

Status = Literal["downloaded", "stored", "missing", "failed"]

_FOLDERS = {"klines": "klines", "mark": "markPriceKlines", "funding": "fundingRate"}
"""The archive's name of each kind."""
ARCHIVE_KINDS = tuple(_FOLDERS)
_CHUNK = 1 << 16
_GONE = 404


@dataclass(frozen=True, kw_only=True)
class ArchiveSettings:
    """How to reach the archive.

    Parameters
    ----------
    base_url : str
        Host, without the trailing ``data/futures/um``.
    raw : str
        Local folder that keeps the zips and their checksums under the archive's own paths.
    workers : int
        Downloads at a time, >= 1.
    retries : int
        Further attempts after a failed one, >= 0.
    timeout_s : float
        Seconds without a byte after which an attempt has failed, > 0.
    backoff_s : float
        Seconds before the first further attempt, doubled each time, >= 0.
    check_replaced : bool
        Ask for the checksum of files that are already stored, and load those that were replaced.
    """

    base_url: str
    raw: str
    workers: int
    retries: int
    timeout_s: float
    backoff_s: float
    check_replaced: bool

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url must start with http:// or https://, was {self.base_url}")
        if self.workers < 1:
            raise ConfigError(f"workers must be >= 1, was {self.workers}")
        if self.retries < 0:
            raise ConfigError(f"retries must be >= 0, was {self.retries}")
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout_s must be > 0, was {self.timeout_s}")
        if self.backoff_s < 0:
            raise ConfigError(f"backoff_s must be >= 0, was {self.backoff_s}")


@dataclass(frozen=True, kw_only=True)
class MonthJob:
    """One month of one series, with the days of it that are wanted.

    Parameters
    ----------
    kind, interval, symbol : str
        The series; the interval of funding is not looked at.
    first, last : date
        First and last wanted day, in the same month.
    """

    kind: str
    interval: str
    symbol: str
    first: date
    last: date

    @property
    def monthly(self) -> str:
        """Path of the month's zip inside the archive."""
        return self._path("monthly", f"{self.first:%Y-%m}")

    @property
    def dailies(self) -> list[str]:
        """Paths of the wanted days' zips; none for funding, which the archive keeps by month only."""
        if self.kind == "funding":
            return []
        days = (self.last - self.first).days + 1
        return [self._path("daily", f"{self.first + timedelta(days=d)}") for d in range(days)]

    def _path(self, period: str, stamp: str) -> str:
        folder = f"data/futures/um/{period}/{_FOLDERS[self.kind]}/{self.symbol}"
        if self.kind == "funding":
            return f"{folder}/{self.symbol}-fundingRate-{stamp}.zip"
        return f"{folder}/{self.interval}/{self.symbol}-{self.interval}-{stamp}.zip"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file.

    Parameters
    ----------
    job : MonthJob
        The series and month it belongs to.
    path : str
        Inside the archive and inside the raw folder.
    status : {"downloaded", "stored", "missing", "failed"}
        Stored: already there. Missing: the archive does not have it.
    detail : str
        Why it failed.
    reached : bool
        False: it failed because no connection to the host could be made.
    """

    job: MonthJob
    path: str
    status: Status
    detail: str = ""
    reached: bool = True


def month_jobs(
    kinds: Sequence[str],
    intervals: Sequence[str],
    symbols: Sequence[str],
    *,
    start: str,
    end: str,
) -> list[MonthJob]:
    """Return the months that cover ``[start, end)``, one job per series and month.

    Raises
    ------
    ConfigError
        If a kind is not in the archive or the span is empty.
    """
    for kind in kinds:
        if kind not in _FOLDERS:
            raise ConfigError(f"kinds must be among {', '.join(_FOLDERS)}, was {kind}")
    first = to_timestamp(start)
    last = to_timestamp(end)
    if first >= last:
        raise ConfigError(f"start must be before end, was {start} with end {end}")
    months = list(_months(first.date(), (last.to_pydatetime() - timedelta(microseconds=1)).date()))
    return [
        MonthJob(kind=kind, interval=interval, symbol=symbol, first=begin, last=stop)
        for symbol in symbols
        for kind in kinds
        for interval in (intervals if kind != "funding" else ("",))
        for begin, stop in months
    ]


def fetch_all(
    settings: ArchiveSettings, jobs: Sequence[MonthJob], *, progress: bool
) -> list[Outcome]:
    """Load what is not yet stored and return what became of each file, in the order of the jobs.

    If the first files that need the host cannot reach it, in any attempt, it is not asked for the others.
    """
    from tqdm import tqdm

    outcomes: dict[int, list[Outcome]] = {}
    with (
        ThreadPoolExecutor(settings.workers) as pool,
        tqdm(total=len(jobs), desc="download", unit="month", disable=not progress) as bar,
    ):
        reached = False
        running = {pool.submit(fetch_month, settings, job): at for at, job in enumerate(jobs)}
        try:
            for done in as_completed(running):
                at = running[done]
                if done.cancelled():
                    outcomes[at] = _not_tried(settings, jobs[at])
                else:
                    outcomes[at] = done.result()
                    reached |= any(o.reached and o.status != "stored" for o in outcomes[at])
                    if not reached and not all(o.reached for o in outcomes[at]):
                        for waiting in running:
                            waiting.cancel()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcome for at in range(len(jobs)) for outcome in outcomes[at]]


def fetch_month(settings: ArchiveSettings, job: MonthJob) -> list[Outcome]:
    """Load a month's zip, or where the archive has none, the zips of its wanted days."""
    dailies = job.dailies
    if dailies and not settings.check_replaced and all(_is_stored(settings, p) for p in dailies):
        return [Outcome(job=job, path=path, status="stored") for path in dailies]
    monthly = fetch_file(settings, job, job.monthly)
    if monthly.status != "missing" or not dailies:
        return [monthly]
    return [fetch_file(settings, job, path) for path in dailies]


def fetch_file(settings: ArchiveSettings, job: MonthJob, path: str) -> Outcome:
    """Load one zip unless it is stored; it is kept only if its SHA-256 is the published one."""
    if _is_stored(settings, path) and not settings.check_replaced:
        return Outcome(job=job, path=path, status="stored")
    detail, reached = "", True
    for attempt in range(settings.retries + 1):
        if attempt:
            time.sleep(settings.backoff_s * 2 ** (attempt - 1))
        try:
            return Outcome(job=job, path=path, status=_load(settings, path))
        except urllib.error.HTTPError as error:
            error.close()
            detail, reached = f"HTTP {error.code}", True
            if error.code < 500 and error.code not in (408, 429):
                break
        except urllib.error.URLError as error:
            # Only what went wrong before an answer began is wrapped in this.
            detail, reached = _connection_error(error), False
        except (http.client.HTTPException, OSError, VenueError) as error:
            detail, reached = (str(error) or type(error).__name__).splitlines()[0], True
    return Outcome(job=job, path=path, status="failed", detail=detail, reached=reached)


def stored_checksum(settings: ArchiveSettings, path: str) -> str:
    """Return the SHA-256 that was published with a stored zip."""
    text = (Path(settings.raw) / f"{path}.CHECKSUM").read_text(encoding="ascii")
    return _parse_checksum(text, path)


def _not_tried(settings: ArchiveSettings, job: MonthJob) -> list[Outcome]:
    """Return what is stored of a month's files, and the others as failed."""
    for paths in ([job.monthly], job.dailies):
        if paths and all(_is_stored(settings, path) for path in paths):
            return [Outcome(job=job, path=path, status="stored") for path in paths]
    detail = "not tried, the host cannot be reached"
    return [Outcome(job=job, path=job.monthly, status="failed", detail=detail, reached=False)]


def _connection_error(error: urllib.error.URLError) -> str:
    reason = error.reason
    text = reason.strerror if isinstance(reason, OSError) else None
    return (text or str(reason) or type(reason).__name__).splitlines()[0]


def _load(settings: ArchiveSettings, path: str) -> Status:
    zip_file = Path(settings.raw) / path
    checksum_file = zip_file.with_name(f"{zip_file.name}.CHECKSUM")
    try:
        text = b"".join(_stream(settings, f"{path}.CHECKSUM")).decode("ascii", "replace")
    except urllib.error.HTTPError as error:
        if error.code != _GONE:
            raise
        error.close()
        return "missing"
    wanted = _parse_checksum(text, path)
    if _is_stored(settings, path) and stored_checksum(settings, path) == wanted:
        return "stored"
    zip_file.parent.mkdir(parents=True, exist_ok=True)
    partial = zip_file.with_name(f"{zip_file.name}.partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for chunk in _stream(settings, path):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != wanted:
            raise VenueError(f"SHA-256 must be {wanted[:12]}…, was {digest.hexdigest()[:12]}…")
        # The checksum is what says that a zip is whole: it goes first and comes last.
        checksum_file.unlink(missing_ok=True)
        partial.replace(zip_file)
    finally:
        partial.unlink(missing_ok=True)
    partial.write_text(text, encoding="ascii", errors="replace")
    partial.replace(checksum_file)
    return "downloaded"


def _stream(settings: ArchiveSettings, path: str) -> Iterator[bytes]:
    url = f"{settings.base_url.rstrip('/')}/{path}"
    request = urllib.request.Request(url, headers={"User-Agent": "quantcore"})
    with urllib.request.urlopen(request, timeout=settings.timeout_s) as response:
        read: Callable[[int], bytes] = response.read
        promised, seen = response.length, 0
        while chunk := read(_CHUNK):
            seen += len(chunk)
            yield chunk
        # http.client reports a connection cut in mid-file only when it reads to the end in one call.
        if promised is not None and seen != promised:
            raise VenueError(f"connection cut after {seen} of {promised} bytes")


def _is_stored(settings: ArchiveSettings, path: str) -> bool:
    zip_file = Path(settings.raw) / path
    return zip_file.exists() and zip_file.with_name(f"{zip_file.name}.CHECKSUM").exists()


def _parse_checksum(text: str, path: str) -> str:
    word = text.split()[0].lower() if text.split() else ""
    if len(word) != 64 or set(word) - set("0123456789abcdef"):
        raise VenueError(f"checksum of {path} must be 64 hexadecimal digits, was {word[:70]!r}")
    return word


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    begin = first
    while begin <= last:
        following = (begin.replace(day=28) + timedelta(days=4)).replace(day=1)
        yield begin, min(last, following - timedelta(days=1))
        begin = following


def yesterday() -> str:
    """Return today's UTC midnight, the end of the last whole day, as ISO text."""
    return datetime.now(UTC).date().isoformat()
