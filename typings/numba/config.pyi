"""Numba's settings that quantcore touches."""

CACHE_DIR: str
NUMBA_NUM_THREADS: int
THREADING_LAYER: str
DISABLE_JIT: int
CACHE_LOCATOR_CLASSES: str
