"""Where the ledger is kept: a file of JSON lines that is only ever added to, on a local disk or at a URL."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.research.trials.entries import VERSION, Entry, Place
from quantcore.research.trials.market import Market

OFF = "off"
KEY = "ledger"
"""The setting that names the ledger; messages begin with it."""

_START = b'{"version":'
"""What every line of ours begins with."""
_HEAD = 1 << 16
_FAILURES = (OSError, pa.ArrowException)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a ledger held when it was read.

    Parameters
    ----------
    entries : tuple of Entry
        In the order of the lines; the same trial may be in several.
    markets : mapping of str to Market
        By fingerprint.
    damaged : tuple of (int, str)
        Number of each line that cannot be read, from 1, and why.
    """

    entries: tuple[Entry, ...] = field(default=(), repr=False)
    markets: Mapping[str, Market] = field(default_factory=dict, repr=False)
    damaged: tuple[tuple[int, str], ...] = ()

    @cached_property
    def trials(self) -> Mapping[Place, frozenset[str]]:
        """The hashes of all trials by their place, each once."""
        held: dict[Place, set[str]] = {}
        for entry in self.entries:
            held.setdefault(entry.place, set()).update(entry.trials)
        return MappingProxyType({place: frozenset(trials) for place, trials in held.items()})

    def knows(self, entry: Entry) -> bool:
        """Return whether every trial of an entry is in the ledger."""
        return self.trials.get(entry.place, frozenset()).issuperset(entry.trials)


class Ledger:
    """A file of JSON lines.

    On a local disk a line is added under a lock, in one piece, and is on the disk before `add` returns; several
    processes may do so at once. At a URL without append the file is read, added to and written whole: of two processes
    that do so in the same moment, one loses its line.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem or None
        None: a local disk.
    path : str
        Inside the filesystem.
    place : str
        What messages call it.
    """

    def __init__(self, filesystem: pafs.FileSystem | None, path: str, place: str) -> None:
        self._fs = filesystem
        self._path = path
        self.place = place

    def check(self, *, writable: bool = True, key: str = KEY) -> None:
        """Refuse a place that cannot be used or holds something else, before anything is computed; makes nothing.

        Parameters
        ----------
        writable : bool
            Whether it will be written to; one that is only read must exist and hold something.
        key : str
            The setting that names it, for messages.

        Raises
        ------
        ConfigError
            Naming the setting, the rule and the place.
        """
        try:
            head = self._head()
            if self._fs is None and writable:
                _check_writable(Path(self._path))
        except _FAILURES as error:
            raise ConfigError(
                f"{key} must be a file that can be {'written' if writable else 'read'}, was {self.place}: "
                f"{_reason(error)}"
            ) from error
        if not head and not writable:
            raise ConfigError(f"{key} must exist and hold something, was {self.place}")
        lines = [line.strip() for line in head.split(b"\n") if line.strip()]
        if lines and not any(_START.startswith(line[: len(_START)]) for line in lines):
            raise ConfigError(
                f"{key} must be a ledger of trials{' or a new file' if writable else ''}, was {self.place} with other "
                "contents"
            )

    def read(self) -> Contents:
        """Return what the ledger holds; nothing where it does not exist yet. Lines that cannot be read are named.

        Raises
        ------
        DataGap
            If the file is there and cannot be read at all.
        """
        try:
            raw = self._bytes()
        except _FAILURES as error:
            raise DataGap(f"{KEY} {self.place} could not be read: {_reason(error)}") from error
        entries, damaged = [], []
        markets: dict[str, Market] = {}
        for number, line in enumerate(raw.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                found = read_line(line)
            except SchemaMismatch as error:
                damaged.append((number, str(error)))
                continue
            if isinstance(found, Market):
                markets.setdefault(found.fingerprint, found)
            else:
                entries.append(found)
        return Contents(entries=tuple(entries), markets=markets, damaged=tuple(damaged))

    def add(self, lines: Sequence[Entry | Market]) -> None:
        """Append entries and markets, all or none.

        A last line without an end, which a killed process left behind, stays a line of its own.

        Raises
        ------
        DataGap
            If they cannot be written; what was there stays as it was.
        """
        raw = b"".join(write_line(line) for line in lines)
        try:
            if self._fs is None:
                _append_local(Path(self._path), raw)
            else:
                held = self._bytes()
                with self._fs.open_output_stream(self._path) as stream:
                    stream.write(held + _end(held) + raw)
        except _FAILURES as error:
            raise DataGap(f"{KEY} {self.place} could not be written: {_reason(error)}") from error

    def _head(self) -> bytes:
        if self._fs is None:
            path = Path(self._path)
            if not path.exists():
                return b""
            with path.open("rb") as file:
                return file.read(_HEAD)
        return self._bytes()[:_HEAD]

    def _bytes(self) -> bytes:
        if self._fs is None:
            path = Path(self._path)
            return path.read_bytes() if path.exists() else b""
        if self._fs.get_file_info(self._path).type == pafs.FileType.NotFound:
            return b""
        with self._fs.open_input_stream(self._path) as stream:
            return bytes(stream.read())


def open_ledger(value: object, *, writable: bool = True, key: str = KEY) -> Ledger | None:
    """Return the ledger that the setting names, checked by `Ledger.check`; None where it is off.

    Parameters
    ----------
    value : object
        A path or a URL such as ``s3://bucket/trials.jsonl``; ``"off"``, false (which YAML makes of ``off``) or None.
    writable : bool
        Whether it will be written to; one that is only read must exist and hold something.
    key : str
        The setting, for messages.

    Raises
    ------
    ConfigError
        If it is something else, cannot be opened or written to, or holds something else.
    """
    if value is None or value is False or value == OFF:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} must be a path, a URL or off, was {value!r}")
    ledger = _opened(value, key)
    ledger.check(writable=writable, key=key)
    return ledger


def read_line(line: bytes) -> Entry | Market:
    """Return what a line of the ledger holds.

    Raises
    ------
    SchemaMismatch
        If it is no whole JSON object, of a later version, or lacks something.
    """
    try:
        held: Any = json.loads(line)
    except ValueError as error:
        raise SchemaMismatch("is no whole JSON object") from error
    if not isinstance(held, dict) or "version" not in held:
        raise SchemaMismatch("is no line of a ledger")
    if held["version"] != VERSION:
        raise SchemaMismatch(f"is of version {held['version']}, version {VERSION} is read")
    kind = held.get("kind")
    if kind not in ("trials", "market"):
        raise SchemaMismatch(f"kind must be trials or market, was {kind!r}")
    try:
        return Entry.from_json(held) if kind == "trials" else Market.from_json(held)
    except KeyError as error:
        raise SchemaMismatch(f"must hold {error.args[0]}, does not") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SchemaMismatch(f"holds a wrong value: {error}") from error


def write_line(line: Entry | Market) -> bytes:
    """Return an entry or market as a line of the ledger, with its end."""
    kind = "trials" if isinstance(line, Entry) else "market"
    held = {"version": VERSION, "kind": kind, **line.to_json()}
    return json.dumps(held, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _opened(value: str, key: str) -> Ledger:
    if "://" not in value:
        return Ledger(None, value, value)
    try:
        filesystem, path = pafs.FileSystem.from_uri(value)
    except (*_FAILURES, ValueError) as error:
        raise ConfigError(
            f"{key} must be a URL that opens, was {value}: {_reason(error)}"
        ) from error
    local = isinstance(filesystem, pafs.LocalFileSystem)
    return Ledger(None if local else filesystem, path, value)


def _check_writable(path: Path) -> None:
    if path.exists():
        with path.open("ab"):
            return
    standing = next(f for f in path.absolute().parents if os.path.lexists(f))
    tempfile.TemporaryDirectory(prefix=".quantcore-", dir=standing).cleanup()


def _append_local(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        with _locked(number):
            size = os.fstat(number).st_size
            os.lseek(number, max(size - 1, 0), os.SEEK_SET)
            last = os.read(number, 1)
            rest = memoryview(_end(last) + raw)
            try:
                while rest:
                    rest = rest[os.write(number, rest) :]
                os.fsync(number)
            except OSError:
                os.ftruncate(number, size)
                raise
    finally:
        os.close(number)


@contextlib.contextmanager
def _locked(number: int) -> Iterator[None]:
    """Hold the file's lock, where the system has one, until the block ends."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    fcntl.flock(number, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(number, fcntl.LOCK_UN)


def _end(held: bytes) -> bytes:
    """Return what ends a last line that has no end."""
    return b"" if not held or held.endswith(b"\n") else b"\n"


def _reason(error: BaseException) -> str:
    text = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    lines: Iterable[str] = text.splitlines()
    return next(iter(lines), type(error).__name__)
