"""A Parquet store of long tables, hive-partitioned by kind, interval and symbol, on any filesystem pyarrow opens."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from quantcore.data.checks import at_text
from quantcore.data.schema import (
    SCHEMAS,
    check_table,
    empty_table,
    interval_order,
    times,
)
from quantcore.data.tables import TableReader, read_checked
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.types import IntArray

_ORIGIN = "origin"
_SYNTHETIC = {"prices": "synthetic"}


class Store:
    """A folder or URL laid out as ``kind=K/interval=I/symbol=S/part-YYYY.parquet``.

    It is a `quantcore.data.tables.TableReader`. Files hold the columns of `SCHEMAS` without `symbol`, which the path
    says; every file is sorted by `ts` without duplicates. What is written goes to a partial folder, which readers
    do not look at, and is moved into place when it is whole (`Changes`).

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
        Where it lies.
    root : str
        Path inside the filesystem.
    place : str
        What messages call it.
    """

    def __init__(self, filesystem: pafs.FileSystem, root: str, place: str) -> None:
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._place = place

    @classmethod
    def open(cls, root: str, *, create: bool = False, key: str = "data.root") -> Store:
        """Open the store at a local path or a URL such as ``s3://bucket/store`` or ``file:///store``.

        Parameters
        ----------
        root : str
            Path or URL.
        create : bool
            It need not exist yet; the first write makes it.
        key : str
            The option that holds `root`, for messages.

        Raises
        ------
        ConfigError
            If the URL cannot be opened, there is something else than a folder, or nothing and `create` is false.
        """
        if "://" in root:
            try:
                filesystem, path = pafs.FileSystem.from_uri(root)
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(
                    f"{key} must be a URL that opens, was {root}: {reason}"
                ) from error
        else:
            filesystem, path = pafs.LocalFileSystem(), str(Path(root).absolute())
        found = filesystem.get_file_info(path).type
        if found == pafs.FileType.NotFound and not create:
            raise ConfigError(
                f"{key} must be an existing store, was {root}; python -m quantcore.data makes one "
                "with action=synth, download or import"
            )
        if found not in (pafs.FileType.Directory, pafs.FileType.NotFound):
            raise ConfigError(f"{key} must be a folder, was the file {root}")
        return cls(filesystem, path, root)

    @property
    def place(self) -> str:
        """The path or URL as given."""
        return self._place

    def intervals(self, kind: str) -> list[str]:
        """Return the intervals held of a kind, finest first; of kinds without a grid `EVENT`."""
        held = self._children(f"kind={kind}", "interval=")
        return interval_order(set(held)) or sorted(held)

    def symbols(self, kind: str, interval: str) -> list[str]:
        """Return the symbols held, sorted."""
        return self._children(f"kind={kind}/interval={interval}", "symbol=")

    def name(self, kind: str, interval: str, symbol: str) -> str:
        """Return a table's folder inside the store."""
        return f"kind={kind}/interval={interval}/symbol={symbol}"

    def read(
        self,
        kind: str,
        interval: str,
        symbol: str,
        *,
        first_us: int | None = None,
        last_us: int | None = None,
    ) -> pa.Table:
        """Return one table, or its rows with ``first_us <= ts <= last_us``; empty if nothing of it is held.

        Only the files of the years concerned are read.

        Raises
        ------
        SchemaMismatch
            If a file is no Parquet or has another schema.
        """
        name = self.name(kind, interval, symbol)
        years = self._years(name)
        if first_us is not None:
            years = [year for year in years if year >= _year_at(first_us)]
        if last_us is not None:
            years = [year for year in years if year <= _year_at(last_us)]
        parts = [self._read_part(kind, symbol, f"{name}/part-{year}.parquet") for year in years]
        if not parts:
            return empty_table(kind)
        table = pa.concat_tables(parts).combine_chunks()
        if first_us is None and last_us is None:
            return table
        ts_us = times(table)
        start = 0 if first_us is None else int(np.searchsorted(ts_us, first_us, side="left"))
        stop = len(ts_us) if last_us is None else int(np.searchsorted(ts_us, last_us, side="right"))
        return table.slice(start, max(stop - start, 0))

    def read_span(
        self,
        kind: str,
        interval: str,
        symbols: Sequence[str],
        *,
        first_us: int | None = None,
        last_us: int | None = None,
    ) -> pa.Table:
        """Return the rows of some symbols in a span as one long table, symbol after symbol; raises as `read`."""
        parts = [
            self.read(kind, interval, symbol, first_us=first_us, last_us=last_us)
            for symbol in symbols
        ]
        return pa.concat_tables(parts) if parts else empty_table(kind)

    def salvage(self, kind: str, interval: str, symbol: str) -> tuple[pa.Table, dict[str, str]]:
        """Return what can be read of a table, and for each year's file that cannot its name and why."""
        name = self.name(kind, interval, symbol)
        parts, damaged = [empty_table(kind)], {}
        for year in self._years(name):
            path = f"{name}/part-{year}.parquet"
            try:
                parts.append(self._read_part(kind, symbol, path))
            except SchemaMismatch as error:
                damaged[path] = str(error)
        return pa.concat_tables(parts).combine_chunks(), damaged

    def changes(self) -> Changes:
        """Return a block of writes that appear together when it ends well, and not at all when it does not."""
        return Changes(self)

    def write(self, table: pa.Table, kind: str, interval: str, symbol: str) -> int:
        """Merge rows into one table; returns and raises as `Changes.write`."""
        with self.changes() as changes:
            return changes.write(table, kind, interval, symbol)

    def replace(self, table: pa.Table, kind: str, interval: str, symbol: str) -> None:
        """Make one table hold these rows and no others; raises as `Changes.write`."""
        with self.changes() as changes:
            changes.replace(table, kind, interval, symbol)

    def read_notes(self, name: str) -> dict[str, str]:
        """Return a small mapping kept beside the tables; empty if it was never written."""
        path = f"{self._root}/{name}.json"
        if self._fs.get_file_info(path).type != pafs.FileType.File:
            return {}
        with self._fs.open_input_stream(path) as stream:
            notes = json.loads(bytes(stream.read()))
        return {str(key): str(value) for key, value in notes.items()}

    def write_notes(self, name: str, notes: Mapping[str, str]) -> None:
        """Keep a small mapping beside the tables, in place of the one before."""
        with self.changes() as changes:
            changes.write_notes(name, notes)

    def holds_anything(self) -> bool:
        """Return whether there is a table of any kind."""
        return any(self.intervals(kind) for kind in SCHEMAS)

    def is_synthetic(self) -> bool:
        """Return whether its prices are invented: what `Changes.mark_synthetic` left beside the tables."""
        return self.read_notes(_ORIGIN) == _SYNTHETIC

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a file inside the store in one move."""
        with self.changes() as changes:
            changes.write_bytes(path, content)

    def _children(self, folder: str, prefix: str) -> list[str]:
        selector = pafs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        found = (info.base_name for info in self._fs.get_file_info(selector))
        return sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix))

    def _years(self, name: str) -> list[int]:
        selector = pafs.FileSelector(f"{self._root}/{name}", allow_not_found=True)
        found = (info.base_name for info in self._fs.get_file_info(selector))
        parts = (re.fullmatch(r"part-(\d+)\.parquet", name) for name in found)
        return sorted(int(part[1]) for part in parts if part)

    def _named(self, path: str) -> str:
        return f"{self._place.rstrip('/')}/{path}"

    def _read_part(self, kind: str, symbol: str, path: str) -> pa.Table:
        named = self._named(path)
        try:
            with (
                self._fs.open_input_file(f"{self._root}/{path}") as source,
                pq.ParquetFile(source) as file,
            ):
                rows = file.read()
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise SchemaMismatch(
                f"{named} must be a readable Parquet file, was not: {reason}"
            ) from error
        if rows.schema.names != [n for n in SCHEMAS[kind].names if n != "symbol"]:
            raise SchemaMismatch(
                f"{named} must have the columns of {kind} without symbol, "
                f"had {', '.join(rows.schema.names)}"
            )
        rows = rows.add_column(1, "symbol", pa.repeat(pa.scalar(symbol), len(rows)))
        try:
            return rows.cast(SCHEMAS[kind])
        except (pa.ArrowException, ValueError) as error:
            raise SchemaMismatch(f"{named}: {str(error).splitlines()[0]}") from error


class Changes:
    """Writes to a store that appear when the ``with`` block ends well; made by `Store.changes`.

    They are collected in a partial folder: beside the store where that does not exist yet, else inside it under a
    name that starts with a dot. An error or interruption in the block removes that folder and leaves the store as
    it was; a killed process leaves it behind, to be deleted by hand, and readers do not look at it.

    On a local disk a new store, and a new series of an existing store, appears in one rename; of a series that was
    held, the changed years are moved one after another, during which an interruption waits. An object store has
    no rename: there every file is moved by itself, series after series, and each is whole when it appears.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fs = store._fs
        self._root = store._root
        self._renames = isinstance(getattr(self._fs, "base_fs", self._fs), pafs.LocalFileSystem)
        held = self._fs.get_file_info(self._root).type == pafs.FileType.Directory
        self._new = not held
        self._partial = f"{self._root}{'/' if held else ''}.partial-{uuid.uuid4().hex[:8]}"
        self._written: set[str] = set()
        self._stale: list[str] = []

    def __enter__(self) -> Changes:
        """Return the block itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Move what was written into place, or after an error remove it."""
        try:
            if kind is None:
                with _interruption_held_back():
                    self._publish()
        finally:
            if self._exists(self._partial):
                self._fs.delete_dir(self._partial)

    def write(self, table: pa.Table, kind: str, interval: str, symbol: str) -> int:
        """Merge rows into a table and return how many new times it will hold.

        Rows of times already held are replaced. A table is written once in a block.

        Raises
        ------
        SchemaMismatch
            If the rows have another schema or symbol, or a time twice, or a held file cannot be read.
        """
        name = self._begin(table, kind, interval, symbol)
        held = set(self._store._years(name))
        added = 0
        for year, rows in _by_year(table):
            path = f"{name}/part-{year}.parquet"
            before = (
                self._store._read_part(kind, symbol, path) if year in held else empty_table(kind)
            )
            merged = _merge(before, rows)
            added += len(merged) - len(before)
            if not merged.equals(before):
                self._write_part(merged, path)
        return added

    def replace(self, table: pa.Table, kind: str, interval: str, symbol: str) -> None:
        """Make a table hold these rows and no others, without rows none at all; raises as `write`."""
        name = self._begin(table, kind, interval, symbol)
        kept = set()
        for year, rows in _by_year(table):
            self._write_part(_merge(empty_table(kind), rows), f"{name}/part-{year}.parquet")
            kept.add(year)
        stale = sorted(set(self._store._years(name)) - kept)
        self._stale += [f"{name}/part-{year}.parquet" for year in stale]

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a file inside the store."""
        with self._fs.open_output_stream(self._place(path)) as stream:
            stream.write(content)

    def write_notes(self, name: str, notes: Mapping[str, str]) -> None:
        """Keep a small mapping beside the tables, in place of the one before."""
        text = json.dumps(dict(sorted(notes.items())), indent=0)
        self.write_bytes(f"{name}.json", text.encode() + b"\n")

    def mark_synthetic(self) -> None:
        """Note beside the tables that their prices are invented."""
        self.write_notes(_ORIGIN, _SYNTHETIC)

    def _begin(self, table: pa.Table, kind: str, interval: str, symbol: str) -> str:
        name = self._store.name(kind, interval, symbol)
        check_table(table, kind)
        _check_own(table, symbol, self._store._named(name))
        if name in self._written:
            raise ValueError(f"{name} must be written once in a block, was twice")
        self._written.add(name)
        return name

    def _write_part(self, table: pa.Table, path: str) -> None:
        with self._fs.open_output_stream(self._place(path)) as sink:
            pq.write_table(table.drop_columns(["symbol"]), sink, compression="zstd")

    def _place(self, path: str) -> str:
        """Return where a file is kept until the block ends, in a folder that exists."""
        partial = f"{self._partial}/{path}"
        self._fs.create_dir(partial.rpartition("/")[0], recursive=True)
        return partial

    def _publish(self) -> None:
        if self._new and self._renames and not self._exists(self._root):
            if self._exists(self._partial):
                self._fs.move(self._partial, self._root)
            return
        folders: dict[str, list[str]] = {}
        selector = pafs.FileSelector(self._partial, recursive=True, allow_not_found=True)
        for info in self._fs.get_file_info(selector):
            if info.type == pafs.FileType.File:
                folder, _, file = info.path.removeprefix(f"{self._partial}/").rpartition("/")
                folders.setdefault(folder, []).append(file)
        # Files beside the tables, such as the note of what was imported, speak of them and so come last.
        for folder in sorted(folders, key=lambda folder: (folder == "", folder)):
            self._publish_folder(folder, sorted(folders[folder]))
        for path in self._stale:
            self._fs.delete_file(f"{self._root}/{path}")
            self._prune(path.rpartition("/")[0])

    def _publish_folder(self, folder: str, files: list[str]) -> None:
        source = f"{self._partial}/{folder}".rstrip("/")
        target = f"{self._root}/{folder}".rstrip("/")
        if folder and self._renames and not self._exists(target):
            self._fs.create_dir(target.rpartition("/")[0], recursive=True)
            self._fs.move(source, target)
            return
        self._fs.create_dir(target, recursive=True)
        for file in files:
            self._fs.move(f"{source}/{file}", f"{target}/{file}")

    def _prune(self, folder: str) -> None:
        """Remove a folder of the store and those above it as far as they are empty."""
        while folder:
            path = f"{self._root}/{folder}"
            if self._fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
                return
            if self._exists(path):
                self._fs.delete_dir(path)
            folder = folder.rpartition("/")[0]

    def _exists(self, path: str) -> bool:
        return bool(self._fs.get_file_info(path).type != pafs.FileType.NotFound)


@contextlib.contextmanager
def _interruption_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended; handlers belong to the main thread, others go without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if seen:
        raise KeyboardInterrupt


def copy_tables(
    reader: TableReader, store: Store | Changes, parts: list[tuple[str, str, str]]
) -> Iterator[tuple[str, int]]:
    """Write tables of a reader into a store or its block, one by one; yield each one's name and the rows it added."""
    for kind, interval, symbol in parts:
        table = read_checked(reader, kind, interval, symbol)
        yield reader.name(kind, interval, symbol), store.write(table, kind, interval, symbol)


def _check_own(table: pa.Table, symbol: str, name: str) -> None:
    if len(table) and set(table.column("symbol").unique().to_pylist()) != {symbol}:
        raise SchemaMismatch(f"{name}: every row must be of {symbol}")
    ts_us = np.sort(times(table))
    doubled = np.flatnonzero(np.diff(ts_us) == 0)
    if len(doubled):
        raise SchemaMismatch(
            f"{name}: times must be unique, was twice {at_text(int(ts_us[doubled[0]]))}"
        )


def _by_year(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    ts_us = times(table)
    years = _year(ts_us)
    for year in np.unique(years):
        yield int(year), table.filter(pa.array(years == year))


def _year(ts_us: IntArray) -> IntArray:
    # A bar belongs to the year in which it opened: its close at midnight of New Year counts to the old one.
    before = (ts_us - 1).view("datetime64[us]").astype("datetime64[Y]").astype(np.int64)
    return np.asarray(before + 1970, dtype=np.int64)


def _year_at(ts_us: int) -> int:
    return int(_year(np.array([ts_us], dtype=np.int64))[0])


def _merge(before: pa.Table, rows: pa.Table) -> pa.Table:
    ts_us = np.concatenate([times(before), times(rows)])
    # Stable order puts the newly written row of an equal time last; the last of each time stays.
    order = np.argsort(ts_us, kind="stable")
    ordered = ts_us[order]
    last = np.append(np.diff(ordered) != 0, True) if len(ordered) else np.empty(0, dtype=bool)
    return pa.concat_tables([before, rows]).take(pa.array(order[last])).combine_chunks()
