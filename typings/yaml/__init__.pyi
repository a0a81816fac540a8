"""What quantcore uses of PyYAML."""

from typing import Any

class Mark:
    name: str
    line: int
    column: int

class YAMLError(Exception): ...

class MarkedYAMLError(YAMLError):
    problem: str | None
    problem_mark: Mark | None

def safe_load(stream: Any) -> Any: ...
def safe_dump(
    data: Any, *, sort_keys: bool = ..., allow_unicode: bool = ..., width: int = ...
) -> str: ...
