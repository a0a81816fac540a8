from collections.abc import Callable
from typing import Any

class CPUDispatcher:
    py_func: Callable[..., Any]
    def __init__(
        self,
        py_func: Callable[..., Any],
        targetoptions: dict[str, Any],
        pipeline_class: type[Any] = ...,
    ) -> None: ...
