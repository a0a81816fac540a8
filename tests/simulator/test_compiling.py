"""What the exchange needs is compiled before it answers anybody."""

from __future__ import annotations

import inspect

from live.simulator import bar_stretches, book, kernels, path, trades
from live.simulator.compiling import compile_exchange


def test_every_kernel_of_a_market_of_bars_is_ready_before_the_first_question() -> None:
    compile_exchange()
    found = {
        f"{module.__name__}.{name}": kernel.signatures
        for module in (bar_stretches, book, kernels, path, trades)
        for name, kernel in inspect.getmembers(module, lambda held: hasattr(held, "signatures"))
        if kernel.py_func.__module__ == module.__name__ and "no_cpython_wrapper" not in kernel.targetoptions
    }  # fmt: skip
    # How books differ is asked by a recording alone; the place of an order, and what has traded, by kernels alone.
    bare = {name for name, signatures in found.items() if not signatures}
    assert bare <= {
        f"live.simulator.{name}" for name in ("book.difference", "kernels._find", "trades.traded")
    }
    assert len(found) >= 12
