"""A journal as a folder of Parquet files, and back into an empty journal of any database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    LargeBinary,
    Table,
    func,
    insert,
    select,
)

from live.journal import tables
from live.journal.contract import contract_tables
from live.journal.journal import Journal
from live.journal.revisions import head
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.settings import one_line

RAW = "raw"
MANIFEST = "manifest.json"
_CHUNK = 2_000


def write_export(journal: Journal, folder: Path) -> None:
    """Write a journal into an empty folder: the tables of DESIGN.md 6, and all of its own under ``raw``.

    Everything is seen at one instant, although the loop may write on. ``manifest.json`` has the number of rows and a
    hash of each raw table.
    """
    (folder / RAW).mkdir()
    with journal.transaction() as connection:
        for name, table in contract_tables(connection).items():
            pq.write_table(table, folder / f"{name}.parquet")
        counted = {
            table.name: _write_raw(connection, table, folder / RAW / f"{table.name}.parquet")
            for table in tables.metadata.sorted_tables
        }
    manifest = {"revision": head(), "tables": counted}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_export(journal: Journal, folder: Path) -> int:
    """Fill an empty journal from such a folder, and return how many rows that were.

    Raises
    ------
    ConfigError
        If the journal is not empty, or the folder is no export of the code's revision.
    SchemaMismatch
        If a table of the folder is damaged; the journal stays empty.
    """
    manifest = _manifest(folder)
    total = 0
    with journal.transaction() as connection:
        if connection.scalar(select(func.count()).select_from(tables.sessions)):
            raise ConfigError(f"journal must be empty for an import, {journal.place} is not")
        for table in tables.metadata.sorted_tables:
            for rows in _raw_rows(folder / RAW / f"{table.name}.parquet"):
                connection.execute(insert(table), rows)
            held = fingerprint(connection, table)
            if held != manifest["tables"].get(table.name):
                raise SchemaMismatch(
                    f"from must hold each table as its manifest says, {table.name} of {folder} differs"
                )
            total += held["rows"]
    return total


def fingerprint(connection: Connection, table: Table) -> dict[str, Any]:
    """Return how many rows a table has and a hash of all that they say, the same in every database."""
    digest = _Digest()
    for rows in _rows(connection, table):
        digest.take(rows)
    return digest.result()


class _Digest:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rows = 0

    def take(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            plain = [v.hex() if isinstance(v, bytes) else v for v in row.values()]
            self._hash.update(json.dumps(plain).encode())
        self._rows += len(rows)

    def result(self) -> dict[str, Any]:
        return {"rows": self._rows, "sha256": self._hash.hexdigest()}


def _rows(connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    wanted = select(table).order_by(*table.primary_key.columns)
    found = connection.execute(wanted.execution_options(yield_per=_CHUNK))
    for part in found.partitions():
        yield [row._asdict() for row in part]


def _write_raw(connection: Connection, table: Table, path: Path) -> dict[str, Any]:
    schema = pa.schema([(column.name, _arrow(column.type)) for column in table.columns])
    digest = _Digest()
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _rows(connection, table):
            digest.take(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return digest.result()


def _arrow(kind: object) -> pa.DataType:
    for ours, theirs in (
        (BigInteger, pa.int64()),
        (Boolean, pa.bool_()),
        (Double, pa.float64()),
        (LargeBinary, pa.binary()),
    ):
        if isinstance(kind, ours):
            return theirs
    return pa.string()


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        revision, wanted = manifest["revision"], head()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"from must be a folder that action=export wrote, {folder} is not: {one_line(error)}"
        ) from error
    if revision != wanted:
        raise ConfigError(f"from must be of revision {wanted}, {folder} is of {revision}")
    return manifest


def _raw_rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_CHUNK):
                yield batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise SchemaMismatch(
            f"from must hold whole tables, {path} is not: {one_line(error)}"
        ) from error
