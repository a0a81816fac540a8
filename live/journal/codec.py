"""Between records and rows: arrays as bytes, requests as JSON, words for the codes of `quantcore.types`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from live.broker.interface import Cancel, Order
from quantcore.fold import FoldState
from quantcore.types import Array, FloatArray, OrderType, Side, TimeInForce, WorkingType

_ROW = "journal_row"
_VERSION = 1
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_CODES = {
    "side": Side,
    "type": OrderType,
    "time_in_force": TimeInForce,
    "working_type": WorkingType,
}


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Return named arrays as bytes, the same arrays always as the same."""
    return FoldState(_ROW, _VERSION, arrays).to_bytes()


def unpack(raw: bytes) -> dict[str, Array]:
    """Return the arrays that `pack` wrote, read-only.

    Raises
    ------
    SchemaMismatch
        If the bytes are not whole.
    """
    return dict(FoldState.from_bytes(raw).expect(_ROW, _VERSION))


def pack_row(row: FloatArray | None) -> bytes | None:
    """Return one row of float64 as little-endian bytes, None as it is."""
    return None if row is None else np.ascontiguousarray(row, dtype="<f8").tobytes()


def unpack_row(raw: bytes | None) -> FloatArray | None:
    """Return the row that `pack_row` wrote, read-only."""
    return None if raw is None else np.frombuffer(raw, dtype="<f8").astype(np.float64, copy=False)


def to_json(value: Any) -> str:
    """Return a plain value as compact JSON with sorted keys."""
    return _ENCODER.encode(value)


def request_json(request: Order | Cancel) -> str:
    """Return the whole request, its codes as words."""
    plain = vars(request)
    if isinstance(request, Order):
        plain = plain | {name: plain[name].name for name in _CODES}
    return to_json(plain)


def request_of(text: str) -> Order | Cancel:
    """Return the request that `request_json` wrote."""
    plain: dict[str, Any] = json.loads(text)
    if "side" not in plain:
        return Cancel(**plain)
    codes: dict[str, Any] = {name: code[plain[name]] for name, code in _CODES.items()}
    return Order(**plain | codes)


def finite(value: float) -> float | None:
    """Return a number as a database keeps it: NaN as null."""
    return None if math.isnan(value) else float(value)


def number(value: float | None) -> float:
    """Return a number as it was before `finite`."""
    return math.nan if value is None else value


class Redactor:
    """Replaces secrets in texts, so that none reaches the journal whoever let it into a message.

    Parameters
    ----------
    secrets : sequence of str
        Keys, secrets and passwords in use; empty ones are ignored.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        # The longest first: one may be a part of another.
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return a text without secrets, and without characters that no database takes."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if text.isascii() and "\0" not in text:
            return text
        return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"
