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
    "aggTrade": "aggTrade",
    "trade": "trade",
    "bookTicker": "bookTicker",
    "depthUpdate": r"depth(@\d+ms)?",
    "markPriceUpdate": r"markPrice(@1s)?",
}
"""What follows the symbol in the names of streams that are read: a partial book is no difference."""
_SIZES = {"aggTrade": ("p", "q"), "trade": ("p", "q"), "bookTicker": ("b", "B")}
"""The price and the quantity by whose decimals a symbol writes its own."""
_EVENT = re.compile(rb'"e"\s*:\s*"(\w+)"')


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
        Its fields, ``s`` the symbol, ``line`` the number of the line, and for prints and touches ``price_digits`` and
        ``qty_digits``. Decimal texts are float64, levels lists of pairs of them.

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
    chosen: dict[str, list[int]] = {}
    for k, line in enumerate(lines):
        match = _EVENT.search(line)
        kind = match.group(1).decode() if match else ""
        if kind in KINDS:
            chosen.setdefault(kind, []).append(k)
        elif line.strip():
            _check_json(file, done + k + 1, line)
            other[kind or "no event"] += 1
    for kind, rows in chosen.items():
        numbers = np.array(rows, dtype=np.int64) + done + 1
        table = _table(file, kind, numbers, [lines[k] for k in rows])
        read = pc.match_substring_regex(table["stream"], f"^[^@]+@{_STREAMS[kind]}$")
        if kind == "trade":  # liquidity of the insurance fund is told there too
            read = pc.and_(read, pc.greater(table["q"], 0.0))
        left = len(table) - (pc.sum(read).as_py() or 0)
        if left:
            other[f"{kind} of other streams"] += left
            table = table.filter(read)
        if len(table):
            yield kind, table


def _check_json(file: Path, number: int, line: bytes) -> None:
    try:
        json.loads(line)
    except ValueError as error:
        shown = line[:_SHOWN].decode("utf-8", "replace")
        raise DataGap(f"{file} line {number} must be JSON, was {shown!r}") from error


def _table(file: Path, kind: str, numbers: IntArray, lines: list[bytes]) -> Any:
    data = pa.struct([("s", _TEXT), *KINDS[kind].items()])
    inner = [("stream", _TEXT), ("data", data)]
    schema = pa.schema([*inner, ("message", pa.struct(inner))])
    raw = b"\n".join(lines)
    try:
        found = pj.read_json(
            pa.BufferReader(raw),
            read_options=pj.ReadOptions(block_size=len(raw) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
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
    wrapped, plain = found["message"].combine_chunks(), found["data"].combine_chunks()
    stream = pc.coalesce(found["stream"].combine_chunks(), pc.struct_field(wrapped, "stream"))
    columns = {"stream": _whole(file, kind, "stream", stream, numbers)}
    inside = pc.struct_field(wrapped, "data")
    for name in ("s", *KINDS[kind]):
        column = pc.coalesce(pc.struct_field(plain, name), pc.struct_field(inside, name))
        columns[name] = _whole(file, kind, name, column, numbers)
    for name, size in zip(("price_digits", "qty_digits"), _SIZES.get(kind, ()), strict=False):
        columns[name] = _digits(columns[size])
    for name, form in KINDS[kind].items():
        if form in (_TEXT, _LEVELS):
            columns[name] = _numbers(file, kind, name, columns[name])
    return pa.table({**columns, "line": pa.array(numbers)})


def _whole(file: Path, kind: str, name: str, column: Any, numbers: IntArray) -> Any:
    """Return a column that has no holes."""
    if column.null_count:
        line = numbers[pc.index(pc.is_null(column), True).as_py()]
        raise DataGap(f"{file} line {line}: {kind} must have {name}, had none")
    return column


def _digits(text: Any) -> Any:
    """Return the decimals of each decimal text."""
    point = pc.find_substring(text, ".")
    behind = pc.subtract(pc.subtract(pc.binary_length(text), point), 1)
    return pc.if_else(pc.less(point, 0), 0, behind)


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
