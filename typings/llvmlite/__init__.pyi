"""What quantcore uses of llvmlite."""

from typing import Any

ir: Any
