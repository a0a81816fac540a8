"""What quantcore uses of numba, typed so that a compiled function keeps its signature."""

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from numba import config as config
from numba import typed as typed
from numba import types as types

_P = ParamSpec("_P")
_R = TypeVar("_R")

__version__: str

class Dispatcher(Generic[_P, _R]):
    """A compiled function; `py_func` is its interpreted twin."""

    py_func: Callable[_P, _R]
    signatures: list[Any]
    overloads: dict[Any, Any]
    __name__: str
    __doc__: str | None
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def compile(self, signature: tuple[Any, ...], /) -> Any: ...

@overload
def njit(function: Callable[_P, _R], /) -> Dispatcher[_P, _R]: ...
@overload
def njit(
    *,
    cache: bool = ...,
    parallel: bool = ...,
    nogil: bool = ...,
    inline: str = ...,
    boundscheck: bool | None = ...,
    forceinline: bool = ...,
    error_model: str = ...,
) -> Callable[[Callable[_P, _R]], Dispatcher[_P, _R]]: ...
def prange(start: int, stop: int = ..., step: int = ..., /) -> range: ...
def typeof(value: object, /) -> Any: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
