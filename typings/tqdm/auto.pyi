"""tqdm publishes no types that agree with the locked version: every name of it is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
