"""How kernels reach arrays cheaply: without counting references to them, bundles by address, rows unsigned."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel.models import PointerModel
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    lower_builtin,
    lower_getattr_generic,
    register_model,
    type_callable,
)

Lent = TypeVar("Lent")


@njit(cache=True, inline="always")
def unsigned(row: int) -> int:
    """Return a row that is not negative as such: numba tests a signed one for < 0 at every use."""
    return np.uint64(row)  # type: ignore[return-value] # an index to numba, an int to its readers


def lent(arrays: Lent) -> Lent:
    """Return an array, or a named tuple of arrays, that numba does not count references to.

    The caller keeps it alive. Every array taken out of a tuple is else counted up and down again, each a locked
    instruction of some 5 ns: more than the arithmetic of a bar. A tuple is passed on by address, which saves a fifth
    of the time to compile its users: by value each of its arrays is seven to nine arguments of every call. In a loop
    that stores numbers, take the array out of the tuple before it: else its address is read anew after every store.
    """
    return arrays


class LentTuple(types.Type):
    """The address of a named tuple of arrays that nothing replaces while it is lent."""

    def __init__(self, fields: Any) -> None:
        self.dtype = fields
        super().__init__(f"lent({fields})")


register_model(LentTuple)(PointerModel)


@infer_getattr
class _LentFields(AttributeTemplate):
    key = LentTuple

    def generic_resolve(self, tuple_type: Any, name: str) -> Any:
        fields = tuple_type.dtype
        return fields.types[fields.fields.index(name)] if name in fields.fields else None


@lower_getattr_generic(LentTuple)
def _field(context: Any, builder: Any, tuple_type: Any, address: Any, name: str) -> Any:
    fields = tuple_type.dtype
    number = fields.fields.index(name)
    array = context.make_array(fields.types[number])(context, builder)
    model = context.data_model_manager[fields.types[number]]
    for part in ("nitems", "itemsize", "data", "shape", "strides"):
        place = [0, number, model.get_field_position(part)]
        steps = [ir.Constant(ir.IntType(32), step) for step in place]
        setattr(array, part, builder.load(builder.gep(address, steps, inbounds=True)))
    return _disown(array)


def _disown(array: Any) -> Any:
    array.meminfo = array.meminfo.type(None)
    array.parent = array.parent.type(None)
    return array._getvalue()


@type_callable(lent)
def _type_of_lent(context: Any) -> Any:
    def typed(arrays: Any) -> Any:
        return arrays if isinstance(arrays, types.Array) else LentTuple(arrays)

    return typed


# Not an overload: that would be a function of its own, in whose frame a tuple's fields would end with its return.
@lower_builtin(lent, types.Array)
def _lend_array(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _disown(context.make_array(signature.args[0])(context, builder, value=arguments[0]))


@lower_builtin(lent, types.BaseNamedTuple)
def _lend_tuple(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    fields = context.data_model_manager[signature.args[0]].as_data(builder, arguments[0])
    return cgutils.alloca_once_value(builder, fields)
