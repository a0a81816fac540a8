"""The decorator of kernels that only kernels call: nothing is compiled for a caller that does not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from numba.core.registry import CPUDispatcher

if TYPE_CHECKING:
    from numba import Dispatcher

P = ParamSpec("P")
R = TypeVar("R")


class Inner(CPUDispatcher):
    """A compiled function without an entrance from Python: called from there, it runs interpreted."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the interpreted twin."""
        return self.py_func(*args, **kwargs)


def inner(
    *, forceinline: bool = False, python_division: bool = False
) -> Callable[[Callable[P, R]], Dispatcher[P, R]]:
    """Compile a function for other kernels alone, cached.

    A kernel that Python calls needs code that takes each Python object apart and puts it together again. For an
    account of 22 arrays that is more code than most of its steps, and was a fifth of all time spent compiling.

    Parameters
    ----------
    forceinline : bool
        Have every call of it compiled in place.
    python_division : bool
        Let a division by zero raise as in Python; else it gives infinity or NaN, as in numpy.
    """

    def compile_inner(function: Callable[P, R]) -> Dispatcher[P, R]:
        dispatcher = Inner(
            function,
            targetoptions={
                "nopython": True,
                "boundscheck": None,
                "no_cpython_wrapper": True,
                "no_cfunc_wrapper": True,
                "forceinline": forceinline,
                "error_model": "python" if python_division else "numpy",
            },
        )
        dispatcher.enable_caching()
        return cast("Dispatcher[P, R]", dispatcher)

    return compile_inner
