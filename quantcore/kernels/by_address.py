"""Calling a compiled kernel by its address: whoever calls it need not compile it again.

Numba takes the code of every kernel that another one calls into the caller, and optimises it there once more: a sweep
over the account would compile the account a second time, and once more for every strategy. A call by address costs a
microsecond, for thousands of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from numba import Dispatcher


def address(kernel: Dispatcher[..., int], *arguments: object) -> int:
    """Return where the code of a kernel for arguments of these types lies, compiling it if needed.

    Parameters
    ----------
    kernel : njit function
        Returns an int. It must not be collected while the address is used.
    arguments : object
        Examples of its arguments; their types count.
    """
    signature = tuple(typeof(argument) for argument in arguments)
    kernel.compile(signature)
    compiled = kernel.overloads[signature]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


@intrinsic
def call(typing_context: Any, place: Any, arguments: Any) -> Any:
    """Call the kernel at an address with the arguments of a tuple, of exactly the types it was compiled for."""
    result = types.int64

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args[1].types
        function_type = context.call_conv.get_function_type(result, kinds)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        status, returned = context.call_conv.call_function(
            builder, function, result, kinds, cgutils.unpack_tuple(builder, values[1])
        )
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return returned

    return result(place, arguments), generate
