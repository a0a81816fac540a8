"""The explicit state of a fold: named flat arrays with a kind and a version, that can be saved, loaded and hashed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantcore.errors import SchemaMismatch
from quantcore.types import Array

SETTINGS = "settings"
"""Name of the array in which a fold's state keeps the text of the settings that it was made with."""

_MAGIC = b"QCSTATE1"


@dataclass(frozen=True)
class FoldState(Mapping[str, Array]):
    """An immutable value between two calls of a fold.

    Parameters
    ----------
    kind : str
        The fold that made it, such as ``"trend"`` or ``"account"``.
    version : int
        Raised by the fold whenever the meaning of an array changes.
    arrays : mapping of str to numpy array
        The state itself; copied, made C-contiguous and read-only. An array that already is and that nobody else owns,
        such as another state's, is shared.
    made_by : object
        Symbols and settings of the fold that made it in this process, so that it need not look at them again; not
        saved.

    Examples
    --------
    >>> state = FoldState("example", 1, {"mean": np.array([1.0, 2.0])})
    >>> FoldState.from_bytes(state.to_bytes()).digest() == state.digest()
    True
    """

    kind: str
    version: int
    arrays: Mapping[str, Array] = field(repr=False)
    made_by: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        frozen = {}
        for name in sorted(self.arrays):
            array = self.arrays[name]
            flags = array.flags
            if flags.writeable or not (flags.c_contiguous and flags.owndata):
                array = np.array(array, order="C", copy=True)
                array.flags.writeable = False
            frozen[name] = array
        object.__setattr__(self, "arrays", MappingProxyType(frozen))

    @classmethod
    def of(
        cls, kind: str, version: int, arrays: Mapping[str, Array], *, made_by: object = None
    ) -> FoldState:
        """Return a state that takes the arrays over without a copy: nothing may write to them any more.

        They are made read-only once somebody looks at them: a live decision only copies them for the next one.
        """
        state = object.__new__(cls)
        state.__dict__.update(kind=kind, version=version, made_by=made_by, _taken=arrays)
        return state

    if not TYPE_CHECKING:  # every other name stays an error to type checkers

        def __getattr__(self, name: str) -> Mapping[str, Array]:
            """Make the arrays of `of` read-only, at the first look at them."""
            if name != "arrays" or "_taken" not in self.__dict__:
                raise AttributeError(name)
            frozen = {}
            taken = self.__dict__.pop("_taken")
            for key in sorted(taken):
                array = taken[key]
                if array.base is not None or not array.flags.c_contiguous:
                    array = np.array(array, order="C", copy=True)
                array.setflags(write=False)
                frozen[key] = array
            arrays = MappingProxyType(frozen)
            self.__dict__["arrays"] = arrays
            return arrays

    def __getitem__(self, name: str) -> Array:
        """Return one array, read-only."""
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self.arrays)

    def expect(self, kind: str, version: int) -> FoldState:
        """Return the state if it is of this kind and version, else raise `SchemaMismatch`."""
        if (self.kind, self.version) != (kind, version):
            raise SchemaMismatch(
                f"state must be of kind {kind!r} version {version}, "
                f"was {self.kind!r} version {self.version}"
            )
        return self

    def copies(self) -> dict[str, Array]:
        """Return writable copies of the arrays, for a kernel to advance."""
        held = self.__dict__.get("_taken") or self.arrays
        return {name: array.copy() for name, array in held.items()}

    def to_bytes(self) -> bytes:
        """Return the state as bytes: the same state always gives the same bytes."""
        header = {
            "kind": self.kind,
            "version": self.version,
            "arrays": [[n, a.dtype.str, list(a.shape)] for n, a in self.arrays.items()],
        }
        head = json.dumps(header, separators=(",", ":")).encode()
        body = b"".join(a.tobytes() for a in self.arrays.values())
        return _MAGIC + len(head).to_bytes(8, "little") + head + body

    @classmethod
    def from_bytes(cls, raw: bytes) -> FoldState:
        """Return the state that `to_bytes` wrote.

        Raises
        ------
        SchemaMismatch
            If the bytes are not a whole state.
        """
        if raw[:8] != _MAGIC:
            raise SchemaMismatch("a saved state must start with QCSTATE1")
        size = int.from_bytes(raw[8:16], "little")
        header = json.loads(raw[16 : 16 + size])
        arrays, at = {}, 16 + size
        for name, dtype, shape in header["arrays"]:
            count = int(np.prod(shape, dtype=np.int64))
            end = at + count * np.dtype(dtype).itemsize
            if end > len(raw):
                raise SchemaMismatch(f"saved state is cut off in array {name!r}")
            arrays[name] = np.frombuffer(raw[at:end], dtype=dtype).reshape(shape)
            at = end
        if at != len(raw):
            raise SchemaMismatch(f"saved state has {len(raw) - at} bytes too many")
        return cls(header["kind"], header["version"], arrays)

    def digest(self) -> str:
        """Return the SHA-256 of the state's bytes, as hexadecimal text."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the state to a file, atomically."""
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            file.write(self.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> FoldState:
        """Read a state that `save` wrote."""
        return cls.from_bytes(path.read_bytes())


class Held(dict[str, Array]):
    """The arrays of a fold while it advances them in place; `state` then closes them to a value again."""

    def __init__(
        self, kind: str, version: int, arrays: Mapping[str, Array], made_by: object
    ) -> None:
        super().__init__(arrays)
        self.kind = kind
        self.version = version
        self.made_by = made_by

    def state(self) -> FoldState:
        """Return the state, which takes the arrays over: nothing may write to them any more."""
        return FoldState.of(self.kind, self.version, self, made_by=self.made_by)


def resume(
    state: FoldState | None,
    kind: str,
    version: int,
    *,
    n_symbols: int,
    settings: object,
    empty: Callable[[], Mapping[str, Array]],
    free: Collection[str] = (),
) -> Held:
    """Return the arrays that a fold advances in place: copies of a state's, or the empty ones of a cold start.

    Parameters
    ----------
    state : FoldState or None
        From an earlier call of the same fold; None starts empty.
    kind, version : str, int
        What the fold writes.
    n_symbols : int
        Symbols of the bars.
    settings : object
        All that has to be the same in calls that share a state; told apart by its `repr`, which the state keeps.
    empty : callable
        Makes the arrays of a cold start; their shapes and types are what a state must have.
    free : collection of str
        Arrays whose shape the fold chooses.

    Raises
    ------
    SchemaMismatch
        If the state is of another fold, or of other symbols or settings.
    """
    made_by = (n_symbols, settings)
    if (
        state is not None
        and state.made_by == made_by
        and (state.kind, state.version) == (kind, version)
    ):
        return Held(kind, version, state.copies(), made_by)
    text = np.array(repr(settings).encode(), dtype=np.bytes_)
    if state is None:
        arrays = {name: array.copy() for name, array in empty().items()}
        return Held(kind, version, {**arrays, SETTINGS: text}, made_by)
    held = state.expect(kind, version).copies()
    found = held.get(SETTINGS)
    if found is None or found.tobytes() != text.tobytes():
        told = "none" if found is None else found.item().decode()
        ours, theirs = _differing(repr(settings), told)
        raise SchemaMismatch(f"{kind} state must be of the settings {ours}, was of {theirs}")
    needed = empty()
    for name in sorted({*held, *needed} - {SETTINGS}):
        there, wanted = (
            (arrays[name].shape, arrays[name].dtype.str) if name in arrays else None
            for arrays in (held, needed)
        )
        if there != wanted and not (name in free and there and wanted):
            raise SchemaMismatch(
                f"{kind} state must have {name} of shape and type {wanted}, was {there}: other symbols"
            )
    return Held(kind, version, held, made_by)


def reopen(state: FoldState, kind: str, version: int) -> Held:
    """Return the arrays of a state to be changed in place, of whatever symbols and settings it is.

    Raises
    ------
    SchemaMismatch
        If the state is of another fold.
    """
    return Held(kind, version, state.expect(kind, version).copies(), state.made_by)


def _differing(wanted: str, found: str) -> tuple[str, str]:
    """Return the parts in which two texts of settings differ; both whole where they are of other kinds."""
    ours, theirs = wanted.split(", "), found.split(", ")
    if len(ours) != len(theirs):
        return wanted, found
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    return ", ".join(a for a, _ in pairs), ", ".join(b for _, b in pairs)
