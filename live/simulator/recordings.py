"""Recorded market streams, symbol by symbol: prints, touches, differences of the book, marks, and depth snapshots."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from live.simulator.recorded_lines import KINDS, read_lines
from quantcore.errors import ConfigError, DataGap
from quantcore.types import Array, FloatArray, IntArray

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
"""How the names of recordings end."""
SNAPSHOT_NAME = re.compile(r"depth_snapshot_(?P<symbol>[A-Z0-9]+)(_.*)?\.json")
"""Names of snapshots, the body being an answer of ``GET /fapi/v1/depth``, which does not say its symbol."""

_MILLISECOND_US = 1000
_ORDERED = {"aggTrade": "a", "trade": "t", "bookTicker": "u", "depthUpdate": "u"}
"""The ids that rise."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """One side's levels of many events: those of event k are ``offset[k]`` up to ``offset[k + 1]``.

    Parameters
    ----------
    offset : int64 array, shape (n + 1,)
        Where they begin.
    price, qty : float64 array, shape (n_levels,)
        USDT per coin and coins; a quantity of 0 takes a level away.
    """

    offset: IntArray
    price: FloatArray
    qty: FloatArray


@dataclass(frozen=True, kw_only=True)
class Events:
    """The events of one kind of one symbol.

    Parameters
    ----------
    time_us : int64 array, shape (n,)
        When each happened at the exchange, microseconds since 1970, not falling.
    columns : mapping of str to array, shape (n,)
        By the exchange's letters (`recorded_lines.KINDS`).
    levels : mapping of str to Levels
        Of differences of the book, ``b`` and ``a``.
    """

    time_us: IntArray
    columns: Mapping[str, Array]
    levels: Mapping[str, Levels]

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.time_us)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A depth snapshot.

    Parameters
    ----------
    name : str
        Of its file.
    time_us : int
        When the book stood so, microseconds since 1970.
    update_id : int
        The last change in it.
    bids, asks : float64 array, shape (n, 2)
        Price and quantity, best first.
    """

    name: str
    time_us: int
    update_id: int
    bids: FloatArray
    asks: FloatArray


@dataclass(frozen=True, kw_only=True)
class SymbolRecording:
    """What is recorded of one symbol.

    Parameters
    ----------
    events : mapping of str to Events
        Of the kinds there are (`recorded_lines.KINDS`).
    snapshots : tuple of Snapshot
        By their update ids.
    """

    events: Mapping[str, Events]
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What some files recorded.

    Parameters
    ----------
    symbols : mapping of str to SymbolRecording
        Sorted by symbol.
    start_us, last_us : int
        Times of the first and the last event, microseconds since 1970.
    notes : tuple of str
        Sentences on what was left alone.
    """

    symbols: Mapping[str, SymbolRecording]
    start_us: int
    last_us: int
    notes: tuple[str, ...]


def read_recording(path: Path) -> Recording:
    """Return what a file, or the files of a folder in the order of their names, recorded.

    A folder's snapshots (`SNAPSHOT_NAME`) are read with it; a file is read alone.

    Raises
    ------
    ConfigError
        If there is no such file, or the folder has no recordings.
    DataGap
        If a line is not what it should be (`read_lines`), no line is of a stream that is read, or time or ids of a
        stream run back.
    """
    files, snapshots = _files(path)
    other: Counter[str] = Counter()
    found: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for number, file in enumerate(files):
        for kind, table in read_lines(file, other):
            place = pa.array(np.full(len(table), number))
            found[kind].append(table.append_column("file", place))
    tables = {kind: pa.concat_tables(parts) for kind, parts in found.items() if parts}
    names = sorted(
        {name for table in tables.values() for name in pc.unique(table["s"]).to_pylist()}
    )
    if not names:
        there = ", ".join(sorted(other)) or "nothing"
        raise DataGap(f"{path} must hold lines of {', '.join(KINDS)}, held {there}")
    symbols = {name: _symbol(name, tables, snapshots, files) for name in names}
    times = [events.time_us for each in symbols.values() for events in each.events.values()]
    return Recording(
        symbols=symbols,
        start_us=min(int(each[0]) for each in times),
        last_us=max(int(each[-1]) for each in times),
        notes=tuple(f"{count} lines are not read: {kind}" for kind, count in sorted(other.items())),
    )


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    if path.is_file():
        return [path], []
    if not path.is_dir():
        raise ConfigError(f"data.path must name a file or folder that is there, was {path}")
    inside = sorted(path.iterdir())
    files = [each for each in inside if each.name.endswith(SUFFIXES)]
    if not files:
        raise ConfigError(f"data.path must hold files *{', *'.join(SUFFIXES)}, held none: {path}")
    return files, [each for each in inside if SNAPSHOT_NAME.fullmatch(each.name)]


def _symbol(
    name: str, tables: Mapping[str, Any], snapshots: Sequence[Path], files: Sequence[Path]
) -> SymbolRecording:
    events: dict[str, Events] = {}
    for kind, table in tables.items():
        own = table.filter(pc.equal(table["s"], name)).combine_chunks()
        if not len(own):
            continue
        _check_order(name, kind, own, files)
        events[kind] = _events(kind, own)
    named = [p for p in snapshots if _symbol_of(p) == name]
    known = sorted((_snapshot(p) for p in named), key=lambda snapshot: snapshot.update_id)
    return SymbolRecording(events=events, snapshots=tuple(known))


def _events(kind: str, table: Any) -> Events:
    columns: dict[str, Array] = {}
    levels: dict[str, Levels] = {}
    for letter in KINDS[kind]:
        column = table[letter].combine_chunks()
        if pa.types.is_list(column.type):
            pairs = pc.list_flatten(column).flatten().to_numpy().reshape(-1, 2)
            offset = np.concatenate([[0], np.cumsum(pc.list_value_length(column).to_numpy())])
            price, qty = (np.ascontiguousarray(part) for part in pairs.T)
            levels[letter] = Levels(offset=offset.astype(np.int64), price=price, qty=qty)
        else:
            columns[letter] = column.to_numpy(zero_copy_only=False)
    time_us = columns[_clock(kind)] * _MILLISECOND_US
    return Events(time_us=time_us, columns=columns, levels=levels)


def _clock(kind: str) -> str:
    """Return the letter of an event's time: that of the matching engine, of marks that of the message."""
    return "E" if kind == "markPriceUpdate" else "T"


def _check_order(name: str, kind: str, table: Any, files: Sequence[Path]) -> None:
    """Refuse a time that runs back, and an id that does not rise."""
    for letter, least in ((_clock(kind), 0), (_ORDERED.get(kind, ""), 1)):
        if not letter:
            continue
        values = table[letter].to_numpy()
        back = np.flatnonzero(np.diff(values) < least)
        if len(back):
            k = int(back[0]) + 1
            file, line = files[table["file"][k].as_py()], table["line"][k].as_py()
            what = "must not fall" if least == 0 else "must rise"
            raise DataGap(
                f"{file} line {line}: {letter} of {name} {kind} {what}, was {values[k]} after {values[k - 1]}"
            )


def _symbol_of(path: Path) -> str:
    match = SNAPSHOT_NAME.fullmatch(path.name)
    return match["symbol"] if match else ""


def _snapshot(path: Path) -> Snapshot:
    try:
        body = json.loads(path.read_bytes())
        sides = [
            np.array([[float(price), float(qty)] for price, qty in body[side]]).reshape(-1, 2)
            for side in ("bids", "asks")
        ]
        stamp, number = int(body["T"]), int(body["lastUpdateId"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataGap(
            f"{path} must be an answer of GET /fapi/v1/depth, was not: {error!r}"
        ) from error
    return Snapshot(
        name=path.name,
        time_us=stamp * _MILLISECOND_US,
        update_id=number,
        bids=sides[0],
        asks=sides[1],
    )
