"""Plain values into frozen settings: the strict builder behind `config.build`, which knows neither Hydra nor files."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import json
import math
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from quantcore.errors import ConfigError

TARGET = "_target_"
PARTIAL = "_partial_"
MISSING_VALUE = "???"
"""What YAML holds where a value must be given elsewhere (OmegaConf's own mark)."""

_SCALARS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    type(None): "null",
    Path: "a path",
}
_LISTS = {tuple, list, Sequence, Collection, Iterable, frozenset, set, AbstractSet}
_MAPPINGS = {dict, Mapping}


def _nowhere(path: str) -> str:
    return ""


def build_settings(
    node: object, *, path: str = "", kind: Any = Any, locate: Callable[[str], str] = _nowhere
) -> Any:
    """Return a node of plain values as what its `_target_` or `kind` names, recursively.

    A mapping with `_target_` becomes that frozen dataclass (or the result of that function; with `_partial_: true`
    the function with its keywords bound). The types of nested values come from the annotations of the fields, so a
    nested dataclass needs no `_target_`. A list becomes a tuple unless the annotation asks otherwise. A whole number
    is taken where a float is asked for, and a float without a fraction where a whole number is; a boolean is never
    a number, text is never converted, and nothing is infinite.

    Parameters
    ----------
    node : object
        Dictionaries with text keys, lists and scalars, as YAML gives them.
    path : str
        Where the node stands, such as ``"account"``; put before every key an error names.
    kind : type or annotation
        What is expected; `Any` takes what the node says.
    locate : callable
        Returns for a key's path the place that set it, such as ``"conf/account/cross.yaml"``, or ``""``.

    Returns
    -------
    object
        An instance of `kind`.

    Raises
    ------
    ConfigError
        If a key is unknown, a value is missing, of the wrong type, or refused by a dataclass itself. One line that
        names the key, the rule, the value and the place.

    Examples
    --------
    >>> build_settings([1, 2.0], path="spans", kind=tuple[int, ...])
    (1, 2)
    """
    return _Builder(locate).value(node, path, kind)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most like a misspelt one, ``""`` if none is near.

    Examples
    --------
    >>> nearest("capitol", ["capital", "margin"])
    'capital'
    """
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), "")


def unknown_key(
    path: str, known: Iterable[str], place: str, *, deeper: Iterable[str] = ()
) -> ConfigError:
    """Return the error for a key that nothing reads: its place, the nearest known key and all known ones.

    Of `deeper`, paths below the known keys, those that end like the key are the nearest.

    Examples
    --------
    >>> print(unknown_key("capital", ["account", "data"], "", deeper=["account.capital", "data.root"]))
    unknown key capital; nearest: account.capital; known: account, data
    """
    parent, _, name = path.rpartition(".")
    names, paths = sorted(known), list(deeper)
    near = nearest(name, names)
    ends = [p.rpartition(".")[2] for p in paths]
    meant = name if name in ends or near else nearest(name, ends)
    found = [p for p, end in zip(paths, ends, strict=True) if end == meant]
    text = f"unknown key {path}{_place(place)}"
    if found:
        text += f"; nearest: {' or '.join(found)}"
    elif near:
        text += f"; nearest: {parent}.{near}" if parent else f"; nearest: {near}"
    return ConfigError(f"{text}; known: {', '.join(names) or 'none'}")


@dataclass(frozen=True)
class _Parameters:
    """What a dataclass or function takes by keyword."""

    kinds: Mapping[str, Any]
    required: tuple[str, ...]
    open: bool = False

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def of(target: Callable[..., Any]) -> _Parameters:
        hints = get_type_hints(target)
        if isinstance(target, type) and is_dataclass(target):
            taken = [f for f in fields(target) if f.init]
            needed = [f.name for f in taken if f.default is f.default_factory is MISSING]
            return _Parameters({f.name: hints[f.name] for f in taken}, tuple(needed))
        parameters = inspect.signature(target).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return _Parameters(
            {p.name: hints.get(p.name, Any) for p in named},
            tuple(p.name for p in named if p.default is p.empty),
            any(p.kind is p.VAR_KEYWORD for p in parameters),
        )


@dataclass(frozen=True)
class _Builder:
    locate: Callable[[str], str]

    def value(self, node: object, path: str, kind: Any) -> Any:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if node == MISSING_VALUE:
            raise self.refusal(path, "must be given, was missing")
        if isinstance(node, Mapping) and TARGET in node:
            return self.target(node, path, kind)
        if kind in (Any, object) or isinstance(kind, TypeVar):
            return self.plain(node, path)
        if get_origin(kind) in (Union, types.UnionType):
            return self.union(node, path, kind)
        if isinstance(kind, type) and is_dataclass(kind):
            return self.call(kind, self.mapping(node, path, kind), path, partial=False)
        container = get_origin(kind) or kind
        if container in _LISTS:
            return self.sequence(node, path, kind)
        if container in _MAPPINGS:
            items = self.mapping(node, path, kind)
            inner = (get_args(kind) or (str, Any))[1]
            return {k: self.value(v, _join(path, k), inner) for k, v in items.items()}
        return self.scalar(node, path, kind)

    def target(self, node: Mapping[str, Any], path: str, kind: Any) -> Any:
        name = node[TARGET]
        target = self.located(name, _join(path, TARGET))
        values = {k: v for k, v in node.items() if k not in (TARGET, PARTIAL)}
        partial = self.value(node.get(PARTIAL, False), _join(path, PARTIAL), bool)
        built = self.call(target, values, path, partial=partial)
        if not _may_be(built, kind):
            raise self.refusal(path, f"must be {_describe(kind)}, was {name}")
        return built

    def located(self, name: object, path: str) -> Callable[..., Any]:
        module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
        if not module:
            raise self.refusal(path, f"must be module.name, was {name!r}")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(
                f"{error.name}."
            )
            hint = "; put its folder on PYTHONPATH" if absent else ""
            raise self.refusal(path, f"must be importable, was {name}: {error}{hint}") from error
        if not callable(found):
            raise self.refusal(path, f"must be a dataclass or a function, was {name}")
        return found  # type: ignore[no-any-return]  # callable() narrows Any to itself

    def call(
        self, target: Callable[..., Any], node: Mapping[str, Any], path: str, *, partial: bool
    ) -> Any:
        parameters = _Parameters.of(target)
        for key in node:
            if key not in parameters.kinds and not parameters.open:
                at = _join(path, key)
                raise unknown_key(at, parameters.kinds, self.locate(at))
        if not partial:
            for key in parameters.required:
                if key not in node:
                    raise self.refusal(_join(path, key), "must be given, was missing")
        values = {
            key: self.value(item, _join(path, key), parameters.kinds.get(key, Any))
            for key, item in node.items()
        }
        if partial:
            return functools.partial(target, **values)
        try:
            return target(**values)
        except (ValueError, TypeError, ConfigError) as error:
            raise self.prefixed(error, path, values) from error

    def prefixed(self, error: Exception, path: str, values: Mapping[str, Any]) -> ConfigError:
        """Return what a dataclass says of its values, with the key that it means and the place of that key.

        A check shared by many settings, such as that of a time, does not know the key: then it is the one that
        holds the value in the message.
        """
        text = one_line(error)
        if path:
            text = text.removeprefix(f"{path}.")
        key = re.split(r"\W", text, maxsplit=1)[0]
        refused = text.rpartition(", was ")[2]
        leaves = {k: str(v) for k, v in _leaves(values, "")}
        holders = [k for k, v in leaves.items() if refused in (v, repr(v))]
        if holders and key not in (*holders, *(k.partition(".")[0] for k in holders)):
            key, _, rule = holders[0], *text.partition(" must ")[1:]
            text = f"{key} must {rule}" if rule else f"{key}: {text}"
        if key in leaves or key in values:
            return ConfigError(_join(path, text) + _place(self.locate(_join(path, key))))
        spans = {k: re.search(rf"(?<!\w){re.escape(v)}(?!\w)", refused) for k, v in leaves.items()}
        said = sorted((span.start(), k) for k, span in spans.items() if span)
        places = dict.fromkeys(self.locate(_join(path, k)) for _, k in said) or [self.locate(path)]
        return ConfigError((f"{path}: {text}" if path else text) + _place(", ".join(places)))

    def mapping(self, node: object, path: str, kind: Any) -> Mapping[str, Any]:
        if not isinstance(node, Mapping):
            raise self.wrong(node, path, kind)
        for key in node:
            if not isinstance(key, str):
                raise self.refusal(path, f"must have text keys, was {key!r}")
        return node

    def plain(self, node: object, path: str) -> Any:
        if isinstance(node, Mapping):
            items = self.mapping(node, path, Mapping)
            return {k: self.value(v, _join(path, k), Any) for k, v in items.items()}
        if isinstance(node, list | tuple):
            return tuple(self.value(v, f"{path}[{i}]", Any) for i, v in enumerate(node))
        return node

    def union(self, node: object, path: str, kind: Any) -> Any:
        members = get_args(kind)
        exact = [m for m in members if m is type(node)]
        others = [m for m in members if m is not type(None) and m not in exact]
        nested = isinstance(node, Mapping | list | tuple)
        if len(others) == 1 and nested and not exact and not _is_scalar(others[0]):
            return self.value(node, path, others[0])
        for member in (*exact, *others):
            try:
                return self.value(node, path, member)
            except ConfigError:
                continue
        raise self.wrong(node, path, kind)

    def sequence(self, node: object, path: str, kind: Any) -> Any:
        container, inner = get_origin(kind) or kind, get_args(kind)
        if not isinstance(node, list | tuple):
            raise self.wrong(node, path, kind)
        if container is tuple and inner and inner[-1] is not Ellipsis:
            if len(node) != len(inner):
                raise self.refusal(path, f"must have {len(inner)} values, was {list(node)}")
            kinds: Sequence[Any] = inner
        else:
            kinds = [inner[0] if inner else Any] * len(node)
        values = [self.value(node[i], f"{path}[{i}]", kinds[i]) for i in range(len(node))]
        if container is list:
            return values
        return frozenset(values) if container in (frozenset, set, AbstractSet) else tuple(values)

    def scalar(self, node: object, path: str, kind: Any) -> Any:
        if get_origin(kind) is Literal:
            if any(node == choice and type(node) is type(choice) for choice in get_args(kind)):
                return node
        elif isinstance(kind, type) and issubclass(kind, Enum):
            by_name = {member.name.lower(): member for member in kind}
            if isinstance(node, str) and node.lower() in by_name:
                return by_name[node.lower()]
        elif kind is Path and isinstance(node, str):
            return Path(node)
        elif kind is float and _is_number(node) and math.isfinite(float(node)):
            return float(node)
        elif kind is int and _is_number(node) and math.isfinite(node) and node == int(node):
            return int(node)
        elif kind in (bool, str, type(None)) and type(node) is kind:
            return node
        raise self.wrong(node, path, kind)

    def wrong(self, node: object, path: str, kind: Any) -> ConfigError:
        shown = json.dumps(node) if node is None or isinstance(node, bool) else repr(node)
        return self.refusal(path, f"must be {_describe(kind)}, was {shown}")

    def refusal(self, path: str, rule: str) -> ConfigError:
        return ConfigError(f"{path} {rule}{_place(self.locate(path))}".lstrip())


def one_line(error: BaseException) -> str:
    """Return an error's message with all white space, line breaks too, as single blanks."""
    return " ".join(str(error).split()) or type(error).__name__


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the scalars in built values with their paths, other than null and what dataclasses hold."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, _join(path, str(key)))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    elif isinstance(value, str | int | float | Path) and str(value):
        yield path, value


def _place(place: str) -> str:
    return f" ({place})" if place else ""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _may_be(value: object, kind: Any) -> bool:
    """Return whether a built value fits an annotation, True for annotations that instances do not show."""
    plain = [k for k in _members(kind) if isinstance(k, type) and get_origin(k) is None]
    opaque = len(plain) < len(_members(kind)) or Any in plain
    protocol = any(getattr(k, "_is_protocol", False) for k in plain)
    return opaque or protocol or isinstance(value, tuple(plain))


def _is_scalar(kind: Any) -> bool:
    return kind in _SCALARS or get_origin(kind) is Literal


def _is_number(node: object) -> TypeGuard[int | float]:
    return isinstance(node, int | float) and not isinstance(node, bool)


def _describe(kind: Any) -> str:
    """Return in words what a value of an annotation looks like in YAML."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in get_args(kind))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    container = get_origin(kind) or kind
    if container in _LISTS:
        return "a list"
    if container in _MAPPINGS:
        return "a mapping"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(member.name.lower() for member in kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return "a mapping of " + ", ".join(f.name for f in fields(kind) if f.init)
    return _SCALARS.get(kind, getattr(kind, "__name__", str(kind)))
