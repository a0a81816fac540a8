"""A Parquet store of long tables, hive-partitioned by kind, interval and symbol, on any filesystem pyarrow opens."""

from __future__ import annotations

import json
import re
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

_PARTIAL = ".partial-"


class Store:
    """A folder or URL laid out as ``kind=K/interval=I/symbol=S/part-YYYY.parquet``.

    It is a `quantcore.data.tables.TableReader`. Files hold the columns of `SCHEMAS` without `symbol`, which the path
    says; every file is sorted by `ts` without duplicates. A file is written under another name and moved into
    place, so that a killed run leaves whole files only.

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
    def open(cls, root: str, *, create: bool = False) -> Store:
        """Open the store at a local path or a URL such as ``s3://bucket/store`` or ``file:///store``.

        Raises
        ------
        ConfigError
            If the URL cannot be opened, or there is no such folder and `create` is false.
        """
        if "://" in root:
            try:
                filesystem, path = pafs.FileSystem.from_uri(root)
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(
                    f"store must be a URL that opens, was {root}: {reason}"
                ) from error
        else:
            filesystem, path = pafs.LocalFileSystem(), str(Path(root).absolute())
        store = cls(filesystem, path, root)
        if create:
            filesystem.create_dir(path, recursive=True)
        elif filesystem.get_file_info(path).type != pafs.FileType.Directory:
            raise ConfigError(
                f"store must be an existing folder, was {root}; python -m quantcore.data makes one"
            )
        return store

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

    def write(self, table: pa.Table, kind: str, interval: str, symbol: str) -> int:
        """Merge rows into a table and return how many new times it holds.

        Rows of times already held are replaced. A run that is cut leaves whole years, so that writing again
        completes it.

        Raises
        ------
        SchemaMismatch
            If the rows have another schema or symbol, or a time twice.
        """
        check_table(table, kind)
        _check_own(table, symbol, self.name(kind, interval, symbol))
        name = self.name(kind, interval, symbol)
        held = set(self._years(name))
        added = 0
        for year, rows in _by_year(table):
            path = f"{name}/part-{year}.parquet"
            before = self._read_part(kind, symbol, path) if year in held else empty_table(kind)
            merged = _merge(before, rows)
            added += len(merged) - len(before)
            if not merged.equals(before):
                self._write_part(merged, path)
        return added

    def replace(self, table: pa.Table, kind: str, interval: str, symbol: str) -> None:
        """Make a table hold these rows and no others; raises as `write`."""
        name = self.name(kind, interval, symbol)
        check_table(table, kind)
        _check_own(table, symbol, name)
        kept = []
        for year, rows in _by_year(table):
            self._write_part(_merge(empty_table(kind), rows), f"{name}/part-{year}.parquet")
            kept.append(year)
        for year in self._years(name):
            if year not in kept:
                self._fs.delete_file(f"{self._root}/{name}/part-{year}.parquet")

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
        self.write_bytes(
            f"{name}.json", json.dumps(dict(sorted(notes.items())), indent=0).encode() + b"\n"
        )

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a file inside the store in one move."""
        with self._placed(path) as partial, self._fs.open_output_stream(partial) as stream:
            stream.write(content)

    def _children(self, folder: str, prefix: str) -> list[str]:
        selector = pafs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        found = (info.base_name for info in self._fs.get_file_info(selector))
        return sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix))

    def _years(self, name: str) -> list[int]:
        selector = pafs.FileSelector(f"{self._root}/{name}", allow_not_found=True)
        found = (info.base_name for info in self._fs.get_file_info(selector))
        parts = (re.fullmatch(r"part-(\d+)\.parquet", name) for name in found)
        return sorted(int(part[1]) for part in parts if part)

    def _read_part(self, kind: str, symbol: str, path: str) -> pa.Table:
        try:
            with (
                self._fs.open_input_file(f"{self._root}/{path}") as source,
                pq.ParquetFile(source) as file,
            ):
                rows = file.read()
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise SchemaMismatch(
                f"{path} must be a readable Parquet file, was not: {reason}"
            ) from error
        if rows.schema.names != [n for n in SCHEMAS[kind].names if n != "symbol"]:
            raise SchemaMismatch(
                f"{path} must have the columns of {kind} without symbol, "
                f"had {', '.join(rows.schema.names)}"
            )
        named = rows.add_column(1, "symbol", pa.repeat(pa.scalar(symbol), len(rows)))
        try:
            return named.cast(SCHEMAS[kind])
        except (pa.ArrowException, ValueError) as error:
            raise SchemaMismatch(f"{path}: {str(error).splitlines()[0]}") from error

    def _write_part(self, table: pa.Table, path: str) -> None:
        with self._placed(path) as partial, self._fs.open_output_stream(partial) as sink:
            pq.write_table(table.drop_columns(["symbol"]), sink, compression="zstd")

    def _placed(self, path: str) -> _Placed:
        return _Placed(self._fs, f"{self._root}/{path}")


class _Placed:
    """A path to write to, moved to its name when the block ends well and removed when it does not."""

    def __init__(self, filesystem: pafs.FileSystem, path: str) -> None:
        self._fs = filesystem
        self._path = path
        self._partial = f"{path}{_PARTIAL}{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> str:
        self._fs.create_dir(self._path.rpartition("/")[0], recursive=True)
        return self._partial

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._fs.move(self._partial, self._path)
        elif self._fs.get_file_info(self._partial).type == pafs.FileType.File:
            self._fs.delete_file(self._partial)


def copy_tables(
    reader: TableReader, store: Store, parts: list[tuple[str, str, str]]
) -> Iterator[tuple[str, int]]:
    """Write tables of a reader into a store, one by one; yield each one's name and the rows it added."""
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
