"""The parameter sets of a sweep: one column of plain values per override path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from hydra.core.override_parser.types import Quote, QuotedString

from quantcore.research.parameter import Value

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NOT_WORDS = {"true", "false", "null", "nan", "inf"}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Parameter sets in a fixed order.

    Parameters
    ----------
    columns : mapping of str to sequence of values
        The value of each set by override path; all of one length.
    note : str
        What the reader should know of how they were chosen, ``""`` if nothing.

    Raises
    ------
    ValueError
        If there is no column, or they differ in length.
    """

    columns: Mapping[str, Sequence[Value]]
    note: str = ""

    def __post_init__(self) -> None:
        lengths = {path: len(values) for path, values in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be of one length, was {lengths}")

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Value]]) -> Sets:
        """Return sets given one by one, at least one; all with the same paths.

        Raises
        ------
        ValueError
            If there are none, or their paths differ.
        """
        paths = list(rows[0]) if rows else []
        for row in rows:
            if set(row) != set(paths):
                raise ValueError(f"rows must all have the paths {paths}, was {list(row)}")
        return cls(columns={path: [row[path] for row in rows] for path in paths})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def paths(self) -> tuple[str, ...]:
        """Override paths, in the order of the parameters."""
        return tuple(self.columns)

    def row(self, k: int) -> dict[str, Value]:
        """Return the values of set `k` by path.

        Raises
        ------
        IndexError
            If there is no such set.
        """
        return {path: values[k] for path, values in self.columns.items()}

    def overrides(self, k: int) -> list[str]:
        """Return set `k` as overrides, which Hydra's parser reads as exactly the same values.

        Raises
        ------
        IndexError
            If there is no such set.
        """
        return [f"{path}={override_text(value)}" for path, value in self.row(k).items()]

    def chunk(self, start: int, stop: int) -> Sets:
        """Return the sets from `start` up to `stop` in the same order."""
        columns = {path: values[start:stop] for path, values in self.columns.items()}
        return replace(self, columns=columns)

    def take(self, rows: Sequence[int]) -> Sets:
        """Return some of the sets, in the order of `rows`."""
        columns = {path: [values[k] for k in rows] for path, values in self.columns.items()}
        return replace(self, columns=columns)

    def to_table(self) -> pa.Table:
        """Return one row per set and one column per path, in the column's natural type.

        Truth values become bool, whole numbers int64, numbers float64 and text string, so that ``f"{path}={value}"``
        is an override for every number and plain word. A column of lists, or one that mixes these kinds, holds the
        text of its overrides.
        """
        return pa.table({path: _column(values) for path, values in self.columns.items()})


def override_text(value: Value) -> str:
    """Return a value as Hydra's grammar writes it: floats in full, text quoted where it is not a plain word.

    Parameters
    ----------
    value : bool, int, float, str, list or None
        A plain value.

    Returns
    -------
    str
        What stands after the ``=`` of an override.

    Examples
    --------
    >>> override_text([0.1, None, "a b"])
    "[0.1,null,'a b']"
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{','.join(override_text(item) for item in value)}]"
    if _WORD.fullmatch(value) and value.lower() not in _NOT_WORDS:
        return value
    quoted: str = QuotedString(value, Quote.single).with_quotes()
    return quoted


def _column(values: Iterable[Value]) -> pa.Array:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value in _INT64 for value in values):
        return pa.array(values, pa.int64())
    if kinds in ({float}, {int, float}):
        return pa.array([float(v) for v in values if isinstance(v, int | float)], pa.float64())
    if kinds == {str}:
        return pa.array(values, pa.string())
    return pa.array([override_text(value) for value in values], pa.string())
