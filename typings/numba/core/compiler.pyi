from typing import Any

class Compiler:
    state: Any
    def _compile_core(self) -> Any: ...
