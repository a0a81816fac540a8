"""Numba primitives. Importing this package points numba's disk cache at a folder keyed by the kernels' sources.

Numba notices a change in the file that holds a cached function, but not in a helper or a constant that the function
takes from another file. So the folder's name is a hash of every source that holds either: a change compiles anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numba

_PACKAGE = Path(__file__).resolve().parents[1]
_STRATEGIES = _PACKAGE.parent / "strategies"


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for root in (_PACKAGE, _STRATEGIES):
        for path in sorted(root.rglob("*.py")):
            source = path.read_bytes()
            # Constants are compiled in: every module that kernels take them from counts, kernels or not.
            if b"njit" in source or path.parent.name == "kernels" or path.name == "types.py":
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(source)
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    named = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    root = Path(named) if named else Path.home() / ".cache"
    nearest = next((p for p in (root, *root.parents) if p.exists()), root)
    return root if os.access(nearest, os.W_OK) else Path(tempfile.gettempdir())


numba.config.CACHE_DIR = str(_cache_root() / "quantcore" / _sources_hash())
