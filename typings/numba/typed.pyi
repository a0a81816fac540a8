"""Numba's typed containers."""

from collections.abc import Iterable, MutableMapping, MutableSequence
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

class List(MutableSequence[_V]):
    """A list that compiled code can take."""

    def __init__(self, iterable: Iterable[_V] = ..., /) -> None: ...

class Dict(MutableMapping[_K, _V]):
    """A dictionary that compiled code can take."""

    def __init__(self) -> None: ...
