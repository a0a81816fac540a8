"""What a sweep's parameters name: settings that exist, that may be swept, and what kind of value each takes."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from quantcore.errors import ConfigError
from quantcore.research.parameter import Parameter
from quantcore.research.space import Space
from quantcore.settings import MISSING_VALUE, TARGET, nearest

SWEPT = (
    "strategy",
    "portfolio",
    "regime",
    "matrix",
    "universe",
    "account",
    "risk",
    "execution",
)
"""The parts of a configuration that a sweep may vary: all that stands between the bars and the account."""
_SHOWN = 3
"""Most names listed of those that were perhaps meant."""
_SCALAR_KINDS = (bool, int, float, str, type(None))

Config = Mapping[str, Any]


def check_names(
    space: Space, configs: Sequence[Config], *, groups: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a space with a parameter that sets nothing, or something that all sets must share.

    Parameters
    ----------
    space : Space
        Of a sweep.
    configs : sequence of mapping
        The composed settings as plain nested mappings; several where the space chooses among options of a group, for
        a setting need exist under one of them only.
    groups : mapping of str to sequence of str
        The options of each config group.

    Raises
    ------
    ConfigError
        If a path is unknown (the nearest known ones are named), is a node rather than one setting, is outside `SWEPT`,
        or is a group and not swept by its options; or if an interval or a list stands where the setting takes none.
    """
    leaves = dict.fromkeys(path for config in configs for path in _leaves(config, ""))
    for parameter in space.parameters:
        path = parameter.path
        if path in groups:
            _check_root(path)
            _check_options(parameter, groups[path])
            continue
        if path not in leaves:
            _refuse_path(path, leaves, groups)
        _check_root(path)
        for kind in (_kind(config, path) for config in configs):
            _check_kind(parameter, kind)


def with_whole_numbers(space: Space, configs: Sequence[Config]) -> Space:
    """Return the space with the intervals of settings that take whole numbers only made whole.

    Hydra reads the bounds of ``interval(4,64)`` as real numbers, whatever the setting. Where the settings class says
    ``int``, the numbers from 4 to 64 are meant.

    Parameters
    ----------
    space : Space
        Whose names `check_names` accepted.
    configs : sequence of mapping
        As for `check_names`.

    Raises
    ------
    ConfigError
        If the bounds of such an interval are not whole.
    """

    def settled(parameter: Parameter) -> Parameter:
        interval = parameter.interval
        if interval is None or interval.whole:
            return parameter
        kinds = [_kinds(kind) - {type(None)} for kind in _known_kinds(configs, parameter.path)]
        if not kinds or any(kind != {int} for kind in kinds):
            return parameter
        try:
            return replace(parameter, interval=replace(interval, whole=True))
        except ConfigError as error:
            raise ConfigError(f"{parameter.path}: {error}") from error

    return Space(tuple(settled(parameter) for parameter in space.parameters))


def _leaves(node: object, path: str) -> Iterator[str]:
    if not isinstance(node, Mapping):
        yield path
        return
    for key, item in node.items():
        if not str(key).startswith("_"):
            yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _check_root(path: str) -> None:
    root = path.replace("/", ".").partition(".")[0]
    if root in SWEPT:
        return
    why = "all sets share the data" if root == "data" else "it is the same for all sets"
    raise ConfigError(f"{path} cannot be swept, {why}; a sweep varies {', '.join(SWEPT)}")


def _check_options(parameter: Parameter, options: Sequence[str]) -> None:
    path, known = parameter.path, ", ".join(sorted(options))
    if parameter.interval:
        raise ConfigError(
            f"{path} must be swept by its options ({known}), was {parameter.interval}"
        )
    for choice in parameter.choices:
        if choice not in options:
            near = nearest(str(choice), options)
            hint = f"; nearest: {near}" if near else ""
            raise ConfigError(f"no {path} {choice!r}{hint}; known: {known}")


def _refuse_path(path: str, leaves: Collection[str], groups: Collection[str]) -> None:
    below = [leaf for leaf in leaves if leaf.startswith(f"{path}.")]
    if below:
        _check_root(path)
        shown = ", ".join(below[:_SHOWN]) + (", ..." if len(below) > _SHOWN else "")
        raise ConfigError(f"{path} must be one setting, is a node of {len(below)}: {shown}")
    if path.rpartition(".")[2].startswith("_"):
        raise ConfigError(f"{path} is no setting; sweep a group by its options instead")
    parent = path.rpartition(".")[0]
    names = leaves if parent else (*leaves, *groups)
    known = [name for name in names if name.replace("/", ".").split(".")[0] in SWEPT]
    beside = [name for name in known if parent and name.startswith(f"{parent}.")]
    near = _ending_alike(path, known)
    if not near and not beside:
        near = [name for name in (nearest(path, known),) if name]
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(beside)}"
    if not near and not beside:
        hint = f"a sweep varies {', '.join(SWEPT)}"
    raise ConfigError(f"unknown parameter {path}; {hint}")


def _ending_alike(path: str, known: Sequence[str]) -> list[str]:
    """Return known names whose last part was perhaps meant, the one that is most alike as a whole first."""
    endings = [name.rpartition(".")[2] for name in known]
    ending = nearest(path.rpartition(".")[2], dict.fromkeys(endings))
    alike = [name for name, end in zip(known, endings, strict=True) if end == ending]
    first = nearest(path, alike)
    return [*[first] * bool(first), *(name for name in alike if name != first)][:_SHOWN]


def _check_kind(parameter: Parameter, kind: Any) -> None:
    """Refuse what no setting of a kind can be; what its class itself refuses is found when the set is built."""
    kinds = _kinds(kind)
    if Any in kinds:
        return
    path = parameter.path
    if parameter.interval and not kinds & {int, float}:
        raise ConfigError(f"{path} takes no number, was {parameter.interval}")
    lists = [choice for choice in parameter.choices if isinstance(choice, list)]
    if lists and list not in kinds:
        told = ",".join(str(item) for item in lists[0]) or "..."
        raise ConfigError(
            f"{path} takes one value, was {lists[0]}; several to try are {path}={told}"
        )


def _known_kinds(configs: Sequence[Config], path: str) -> list[Any]:
    return [kind for config in configs if (kind := _kind(config, path)) is not Any]


def _kind(config: Config, path: str) -> Any:
    """Return the annotation of the setting that a path names, `Any` where nothing says it."""
    node: Any = config
    kind: Any = Any
    for key in path.split("."):
        kind = _member(node, kind, key)
        node = node.get(key) if isinstance(node, Mapping) else None
    return kind


def _member(node: Any, kind: Any, key: str) -> Any:
    """Return the annotation of a node's member, from the node's `_target_` or its own annotation."""
    owner = _target(node) or next((k for k in _options(kind) if is_dataclass(k)), None)
    if owner is None:
        return Any
    return get_type_hints(owner).get(key, Any)


def _target(node: Any) -> Any:
    name = node.get(TARGET) if isinstance(node, Mapping) else None
    if not isinstance(name, str) or name == MISSING_VALUE:
        return None
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        return None  # building the settings says what is wrong with it
    return found if inspect.isclass(found) or inspect.isfunction(found) else None


def _options(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(option for member in get_args(kind) for option in _options(member))
    return (kind,)


def _kinds(kind: Any) -> set[Any]:
    """Return the Python types that an annotation takes: scalars, list, and Any for what is none of these."""
    found: set[Any] = set()
    for option in _options(kind):
        if option in _SCALAR_KINDS:
            found.add(option)
        elif get_origin(option) is Literal:
            found |= {type(choice) for choice in get_args(option)}
        elif (get_origin(option) or option) in (tuple, list, Sequence, frozenset, set):
            found.add(list)
        else:
            found.add(Any)
    return found
