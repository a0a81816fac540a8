"""cvxpy's own types leave out the names that it exports by wildcard: every name of it is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
