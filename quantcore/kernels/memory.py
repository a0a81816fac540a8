"""How kernels reach arrays cheaply: without counting references to them, and by unsigned rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic, overload

from quantcore.types import Array


@njit(cache=True, inline="always")
def unsigned(row: int) -> int:
    """Return a row that is not negative as such: numba tests a signed one for < 0 at every use."""
    return np.uint64(row)  # type: ignore[return-value] # an index to numba, an int to its readers


def lent(array: Array) -> Array:
    """Return an array that numba does not count references to; the caller keeps it alive.

    Every array taken out of a tuple is counted up and down again, each a locked instruction of some 5 ns: more than
    the arithmetic of a bar.
    """
    return array


@intrinsic
def _without_owner(typing_context: Any, array: Any) -> Any:
    def lend(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(array)(context, builder, value=arguments[0])
        struct.meminfo = struct.meminfo.type(None)
        struct.parent = struct.parent.type(None)
        return struct._getvalue()

    return array(array), lend


@overload(lent)
def _lent(array: Any) -> Any:
    def lend(array: Any) -> Any:
        return _without_owner(array)  # type: ignore[call-arg] # numba adds the first argument

    return lend
