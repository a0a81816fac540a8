"""Lines of recorded streams as tables, one kind of event each: many at a time, since an hour holds millions.

A line is ``{"stream": …, "data": {…}}``, as the exchange sends it, or that inside
``{"received": seconds, "message": …}``, as a client keeps it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from quantcore.errors import DataGap
from quantcore.types import IntArray

_BLOCK_BYTES = 1 << 25
_LINE_BYTES_MAX = 1 << 26
_PART_BYTES = 1 << 22
"""What one thread parses at a time, where no line is longer."""
_SHOWN = 60
"""Characters of a line that a refusal shows."""

_TEXT, _WHOLE, _FLAG = pa.string(), pa.int64(), pa.bool_()
_LEVELS = pa.list_(pa.list_(_TEXT))
KINDS: Mapping[str, Mapping[str, Any]] = {
    "aggTrade": {
        "T": _WHOLE, "a": _WHOLE, "f": _WHOLE, "l": _WHOLE, "p": _TEXT, "q": _TEXT, "m": _FLAG,
    },
    "trade": {"T": _WHOLE, "t": _WHOLE, "p": _TEXT, "q": _TEXT, "m": _FLAG},
    "bookTicker": {"T": _WHOLE, "u": _WHOLE, "b": _TEXT, "B": _TEXT, "a": _TEXT, "A": _TEXT},
    "depthUpdate": {"T": _WHOLE, "U": _WHOLE, "u": _WHOLE, "pu": _WHOLE, "b": _LEVELS, "a": _LEVELS},
    "markPriceUpdate": {"E": _WHOLE, "T": _WHOLE, "p": _TEXT, "r": _TEXT},
}  # fmt: skip
"""What is read of each event, by the exchange's letters."""
_STREAMS = {
    "aggTrade": "[^@]+@aggTrade",
    "trade": "[^@]+@trade",
    "bookTicker": "[^@]+@bookTicker",
    "depthUpdate": r"[^@]+@depth(@\d+ms)?",
    "markPriceUpdate": r"([^@]+@markPrice|!markPrice@arr)(@1s)?",
}
"""Names of the streams that are read: a partial book is no difference, and ``!bookTicker`` leaves touches out."""
_EVENT = re.compile(rb'"e"\s*:\s*"(\w+)"')
_LIST = re.compile(rb'"data"\s*:\s*\[')


def read_lines(file: Path, other: Counter[str]) -> Iterator[tuple[str, Any]]:
    """Yield a file's events as tables, some of one kind at a time, in the order of the lines within a kind.

    Parameters
    ----------
    file : Path
        Plain or compressed, as its name says.
    other : Counter of str
        Counts the lines that are not read.

    Yields
    ------
    kind : str
        One of `KINDS`.
    table : pyarrow.Table
        Its fields, ``s`` the symbol and ``line`` the number of the line. Decimal texts are float64, levels lists of
        pairs of them.

    Raises
    ------
    DataGap
        If the file cannot be read, or a line is not JSON or not what the exchange sends.
    """
    done, rest = 0, b""
    try:
        with pa.input_stream(str(file), compression="detect") as source:
            while raw := source.read(_BLOCK_BYTES):
                *lines, rest = (rest + raw).split(b"\n")
                if len(rest) > _LINE_BYTES_MAX:
                    raise DataGap(
                        f"{file} line {done + len(lines) + 1} must end, had {len(rest)} bytes"
                    )
                yield from _block(file, done, lines, other)
                done += len(lines)
    except OSError as error:
        raise DataGap(f"{file} must be readable, was not: {error}") from error
    yield from _block(file, done, [rest], other)


def _block(
    file: Path, done: int, lines: list[bytes], other: Counter[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the events of some lines; `done` lines come before them."""
    chosen: dict[tuple[str, bool], list[int]] = {}
    for k, line in enumerate(lines):
        match = _EVENT.search(line)
        kind = match.group(1).decode() if match else ""
        if kind in KINDS:
            listed = kind == "markPriceUpdate" and _LIST.search(line) is not None
            chosen.setdefault((kind, listed), []).append(k)
        elif line.strip():
            _check_json(file, done + k + 1, line)
            other[kind or "no event"] += 1
    for (kind, listed), rows in chosen.items():
        numbers = np.array(rows, dtype=np.int64) + done + 1
        table = _table(file, kind, numbers, [lines[k] for k in rows], listed=listed)
        read = pc.match_substring_regex(table["stream"], f"^{_STREAMS[kind]}$")
        if kind == "trade":  # what the insurance fund does is told there too, without a quantity
            read = pc.and_(read, pc.greater(table["q"], 0.0))
        left = len(table) - (pc.sum(read).as_py() or 0)
        if left:
            other[f"{kind} of other streams"] += left
            table = table.filter(read)
        if len(table):
            yield kind, table.drop_columns("stream")


def _check_json(file: Path, number: int, line: bytes) -> None:
    try:
        json.loads(line)
    except ValueError as error:
        shown = line[:_SHOWN].decode("utf-8", "replace")
        raise DataGap(f"{file} line {number} must be JSON, was {shown!r}") from error


def _table(file: Path, kind: str, numbers: IntArray, lines: list[bytes], *, listed: bool) -> Any:
    """Return the events of some lines of one kind; `listed` where each holds a list of them."""
    event = pa.struct([("s", _TEXT), *KINDS[kind].items()])
    stream, events = _messages(file, kind, pa.list_(event) if listed else event, numbers, lines)
    if listed:
        of = pc.list_parent_indices(events)
        stream, events, numbers = stream.take(of), pc.list_flatten(events), numbers[of.to_numpy()]
    columns = {"stream": _whole(file, kind, "stream", stream, numbers)}
    for name, form in (("s", None), *KINDS[kind].items()):
        column = _whole(file, kind, name, pc.struct_field(events, name), numbers)
        decimal = form in (_TEXT, _LEVELS)
        columns[name] = _numbers(file, kind, name, column) if decimal else column
    return pa.table({**columns, "line": pa.array(numbers)})


def _messages(
    file: Path, kind: str, form: Any, numbers: IntArray, lines: list[bytes]
) -> tuple[Any, Any]:
    """Return the streams and the data of some lines, wrapped or plain."""
    inner = [("stream", _TEXT), ("data", form)]
    schema = pa.schema([*inner, ("message", pa.struct(inner))])
    raw = b"\n".join(lines)
    reading = pj.ReadOptions(block_size=max(_PART_BYTES, 2 * max(map(len, lines))))
    parsing = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        found = pj.read_json(pa.BufferReader(raw), read_options=reading, parse_options=parsing)
    except pa.ArrowInvalid as error:
        for number, line in zip(numbers.tolist(), lines, strict=True):
            _check_json(file, number, line)
        raise DataGap(
            f"{file}: {kind} must be what the exchange sends, was not: {error}"
        ) from error
    if len(found) != len(lines):
        raise DataGap(
            f"{file} must hold one {kind} a line, were {len(found)} in {len(lines)} lines"
        )
    wrapped = found["message"].combine_chunks()
    stream, data = (
        pc.coalesce(found[name].combine_chunks(), pc.struct_field(wrapped, name))
        for name in ("stream", "data")
    )
    return stream, data


def _whole(file: Path, kind: str, name: str, column: Any, numbers: IntArray) -> Any:
    """Return a column that has no holes."""
    if column.null_count:
        line = numbers[pc.index(pc.is_null(column), True).as_py()]
        raise DataGap(f"{file} line {line}: {kind} must have {name}, had none")
    return column


def _numbers(file: Path, kind: str, name: str, column: Any) -> Any:
    """Return a column with its decimal texts as float64."""
    levels = column.type == _LEVELS
    text = column
    if levels:
        pairs = pc.list_flatten(column)
        lengths = pc.unique(pc.list_value_length(pairs)).to_pylist()
        if lengths not in ([], [2]):
            raise DataGap(f"{file}: levels of {kind} must be pairs, were of lengths {lengths}")
        text = pc.list_flatten(pairs)
    try:
        value = pc.cast(text, pa.float64())
    except pa.ArrowInvalid as error:
        raise DataGap(f"{file}: {name} of {kind} must be decimal, was not: {error}") from error
    if not levels:
        return value
    return pa.ListArray.from_arrays(column.offsets, pa.FixedSizeListArray.from_arrays(value, 2))
