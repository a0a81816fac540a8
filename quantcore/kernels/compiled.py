"""The decorator of kernels that only kernels call: nothing is compiled for a caller that does not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher

if TYPE_CHECKING:
    from numba import Dispatcher

P = ParamSpec("P")
R = TypeVar("R")


class _Codegen:
    """Numba's code generator, but for functions that exist in their callers alone: they have no place to mark."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: object) -> None:
        """Do nothing: what an environment is for, printing and objects of Python, kernels do not have."""


class _InnerLibrary(JITCodeLibrary):
    """A function's code before the last optimisation: the outermost caller takes all of it in and optimises it once.

    Numba would optimise every function together with all that it calls, and turn it into machine code, before its
    caller does both again: two thirds as much time again as the outermost function takes alone.
    """

    _closure: Any = None

    @property
    def codegen(self) -> _Codegen:
        """The code generator, as numba asks for it after compiling."""
        return _Codegen(self._codegen)

    def finalize(self) -> None:
        """Simplify the function alone; what it calls is linked in by the outermost caller."""
        self._raise_if_finalized()
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        passes, builder = self._codegen._module_pass_manager(
            loop_vectorize=False, slp_vectorize=False, opt=self._codegen._opt_level, cost="cheap"
        )
        passes.run(self._final_module, builder)
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Return the function with all that it calls."""
        if self._closure is None:
            closure = super()._get_module_for_linking().clone()
            for library in self._all_linked():
                module = (
                    JITCodeLibrary._get_module_for_linking(library)
                    if isinstance(library, _InnerLibrary)
                    else library._get_module_for_linking()
                )
                closure.link_in(module, preserve=True)
            self._closure = closure
        return self._closure

    def _all_linked(self) -> list[Any]:
        """Return the libraries of all functions that are called, directly or by others, each once."""
        found: dict[Any, None] = {}
        stack = list(self._linking_libraries)
        while stack:
            library = stack.pop()
            if library in found:
                continue
            found[library] = None
            if isinstance(library, _InnerLibrary):
                stack.extend(library._linking_libraries)
        return list(found)

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address of no function."""
        self._ensure_finalized()
        return 0


class _InnerCompiler(Compiler):
    def _compile_core(self) -> Any:
        state = self.state
        state.library = _InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        return super()._compile_core()


class Inner(CPUDispatcher):
    """A compiled function without an entrance from Python: called from there, it runs interpreted.

    It is not kept on disk either: whatever calls it is, and holds it.
    """

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the interpreted twin."""
        return self.py_func(*args, **kwargs)


def inner(
    *, forceinline: bool = False, python_division: bool = False
) -> Callable[[Callable[P, R]], Dispatcher[P, R]]:
    """Compile a function for other kernels alone.

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
            pipeline_class=_InnerCompiler,
        )
        return cast("Dispatcher[P, R]", dispatcher)

    return compile_inner
