"""Where compiled kernels are kept on disk: in folders named by every source that a kernel is made of.

Numba notices a change in the file that holds a cached function, but not in a helper or a constant that the function
takes from another file. Here the folder of a kernel is a hash of its module and of all that this imports, at the top
of files and through any number of them. So a change compiles anew whatever it can reach, and nothing else: an edited
strategy leaves the compiled account alone.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import sys
import tempfile
from collections.abc import Callable
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

HOUSE = ("quantcore", "strategies", "live")
_IMPORT = re.compile(
    r"^(?:from[ \t]+([\w.]+)[ \t]+import[ \t]*(\([^)]*\)|(?:\\\n|[^\n])*)|import[ \t]+([^\n]+))",
    re.MULTILINE,
)
_COMMENT = re.compile(r"#[^\n]*")


class SourceLocator:
    """Tells numba the folder of a function's compiled code, for functions that are made of quantcore's modules.

    Others, such as those of libraries, are left to numba's own ways.
    """

    def __init__(self, path: Path, stamp: str, line: int) -> None:
        self._path = path
        self._stamp = stamp
        self._line = line

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> SourceLocator | None:
        """Return where a function is kept; None if it is made of nothing of ours, or no folder can be written."""
        stamp = _stamp(function, file)
        if stamp is None:
            return None
        locator = cls(cache_root() / stamp, stamp, function.__code__.co_firstlineno)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator

    def ensure_cache_path(self) -> None:
        """Make the folder; raises OSError where it cannot be written to."""
        self._path.mkdir(parents=True, exist_ok=True)
        if not os.access(self._path, os.W_OK):
            raise PermissionError(f"kernel cache {self._path} must be writable")

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(self._path)

    def get_source_stamp(self) -> str:
        """Return the hash of all sources."""
        return self._stamp

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name apart: the line."""
        return str(self._line)


def cache_root() -> Path:
    """Return the folder of all compiled kernels: in `NUMBA_CACHE_DIR`, the user's cache, or else a temporary folder."""
    named = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    root = Path(named) if named else Path.home() / ".cache"
    nearest = next((p for p in (root, *root.parents) if p.exists()), root)
    chosen = root if os.access(nearest, os.W_OK) else Path(tempfile.gettempdir())
    return chosen / "quantcore"


def is_compiled(function: Callable[..., Any]) -> bool:
    """Return whether a kernel has been compiled from its present sources, for any types of arguments."""
    plain = getattr(function, "py_func", function)
    stamp = _stamp(plain, inspect.getfile(plain))
    return stamp is not None and any(
        (cache_root() / stamp).glob(f"*{plain.__qualname__}-*.nbi"),
    )


def _stamp(function: Callable[..., Any], file: str) -> str | None:
    """Return the hash of all that a function is made of; None where that is nothing of ours."""
    module = function.__module__
    own = _top(module)
    digest = hashlib.sha256()
    if Path(file).is_file():
        found = _made_of(module, file, own)
    else:  # typed into a notebook: it may use whatever was imported there
        digest.update(inspect.getsource(function).encode())
        found = {name: path for name in list(sys.modules) if (path := _followed(name, own))}
    if own not in HOUSE and not any(_top(name) in HOUSE for name in found):
        return None
    for name in sorted(found):
        digest.update(f"{name}\0{_source(found[name])[0]}\0".encode())
    return digest.hexdigest()[:16]


def _made_of(module: str, file: str, own: str) -> dict[str, str]:
    found = {module: file}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        package = getattr(sys.modules.get(name), "__package__", None)
        for imported in _source(found[name])[1]:
            full = resolve_name(imported, package) if imported.startswith(".") else imported
            if full not in found and (path := _followed(full, own)):
                found[full] = path
                waiting.append(full)
    return found


def _followed(module: str, own: str) -> str | None:
    """Return the file of an imported module that may change: one of ours, or a user's that is not installed."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    top = _top(module)
    if top in HOUSE or top == own:
        return file
    installed = "site-packages" in file or "dist-packages" in file
    return None if installed or top in sys.stdlib_module_names else file


def _source(file: str) -> tuple[str, tuple[str, ...]]:
    """Return a file's hash and the names that it imports; read again once it has changed."""
    status = os.stat(file)
    return _read(file, status.st_mtime_ns, status.st_size)


@functools.cache
def _read(file: str, mtime_ns: int, size: int) -> tuple[str, tuple[str, ...]]:
    source = Path(file).read_bytes()
    names: dict[str, None] = {}
    for parent, parts, plain in _IMPORT.findall(_COMMENT.sub("", source.decode("utf-8"))):
        if parent:
            names[parent] = None
            joint = parent if parent.endswith(".") else f"{parent}."
            names.update(dict.fromkeys(joint + word for word in re.findall(r"\w+", parts)))
        else:
            names.update(dict.fromkeys(re.findall(r"[\w.]+", plain)))
    return hashlib.sha256(source).hexdigest(), tuple(names)


def _top(module: str) -> str:
    return module.partition(".")[0]
