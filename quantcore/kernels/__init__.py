"""Numba primitives. Importing this package tells numba where to keep what it compiles (`kernels/cache.py`)."""

from __future__ import annotations

import numba

_NUMBAS_OWN = ",".join(
    f"{name}CacheLocator" for name in ("UserProvided", "InTree", "UserWide", "IPython", "Zip")
)

if not numba.config.CACHE_LOCATOR_CLASSES:
    numba.config.CACHE_LOCATOR_CLASSES = f"quantcore.kernels.cache.SourceLocator,{_NUMBAS_OWN}"
