"""Numba's types of values."""

from typing import Any

class Type:
    def __init__(self, name: str) -> None: ...

class Array(Type): ...

class BaseNamedTuple(Type):
    fields: tuple[str, ...]
    types: tuple[Any, ...]

int64: Any
