"""Hydra at the edge: starts every command, composes its settings, and ends every `DictConfig` (STYLE.md 5)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from quantcore.cluster import connect
from quantcore.errors import ConfigError, QuantcoreError
from quantcore.extras import refusal
from quantcore.origins import COMMAND_LINE, DIFF_GROUPS, Origins
from quantcore.settings import TARGET, build_settings, nearest, one_line, unknown_key

BAD_INPUT = 2
"""Exit code of a command whose settings or data were refused."""
DEFECT = 1
"""Exit code of a command that failed otherwise, in code of ours or of a strategy."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

_OWN_CODE = ("quantcore", "strategies", "live", "__main__")
_CALLERS = ("quantcore.signal_plane", "quantcore.signals.plain", "quantcore.settings")
"""Modules that call a strategy's code."""
_RAY = "hydra/launcher=ray"
_RAY_ADDRESS = "hydra.launcher.ray.init.address"
_MISSING_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_FOREIGN = (HydraException, OmegaConfBaseException, yaml.YAMLError)
_REPORTED = (QuantcoreError, ValueError, TypeError, *_FOREIGN, *_MISSING_FILE)
_T = TypeVar("_T")


def conf_folder() -> Path:
    """Return the folder of option files: `conf` of the repository, or the copy that an installed wheel holds."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if (beside / "base.yaml").is_file() else package / "_conf"


@overload
def build(node: Any) -> Any: ...
@overload
def build(node: Any, kind: type[_T]) -> _T: ...
def build(node: Any, kind: Any = Any) -> Any:
    """Return a node of a composed configuration as frozen settings; no `DictConfig` goes deeper than here.

    See `settings.build_settings` for what becomes what.

    Parameters
    ----------
    node : DictConfig, ListConfig or scalar
        The configuration or a part of it, such as ``cfg.account``.
    kind : type
        A dataclass for a node that names no `_target_`, or the class that its `_target_` must give.

    Returns
    -------
    object
        The settings; of type `kind` where it is given.

    Raises
    ------
    ConfigError
        If a key is unknown, a value is missing, of the wrong type or refused by its dataclass. The message is one
        line with the key, the rule, the value and the file (or "command line") that holds it.
    """
    if not OmegaConf.is_config(node):
        return build_settings(node, kind=kind)
    path = str(node._get_full_key(None) or "")
    plain = _resolved(node)
    if kind is Any and TARGET not in plain:
        _refuse_added(plain, path, _origins(node))

    def locate(key: str) -> str:
        return _origins(node).locate(key)

    return build_settings(plain, path=path, kind=kind, locate=locate)


def compose(
    primary: str, overrides: Sequence[str] = (), *, folder: Path | None = None
) -> DictConfig:
    """Return the configuration that a command would run with, for notebooks, sweeps and tests.

    Parameters
    ----------
    primary : str
        The primary option file, such as ``"backtest"``.
    overrides : sequence of str
        As on the command line, such as ``["+experiment=quickstart", "account.capital=770"]``.
    folder : Path, optional
        The folder of option files; `conf_folder()` if left out.

    Returns
    -------
    DictConfig
        The composed configuration with Hydra's own node, from which `build` finds the file of a key.

    Raises
    ------
    ConfigError
        If Hydra cannot compose it, or an experiment or override adds a key that nothing reads.
    """
    running = Singleton._instances.pop(GlobalHydra, None)  # inside a command Hydra is at work
    try:
        with hydra.initialize_config_dir(str(folder or conf_folder()), version_base="1.3"):
            cfg = hydra.compose(primary, list(overrides), return_hydra_config=True)
    except _FOREIGN as error:
        raise ConfigError(_explain(error)) from error
    finally:
        Singleton._instances.pop(GlobalHydra, None)
        if running is not None:
            Singleton._instances[GlobalHydra] = running
    check_known(cfg)
    return cfg


def recompose(cfg: DictConfig, changes: Sequence[str]) -> DictConfig:
    """Return the configuration of the same command with further overrides, stronger than those it was given.

    Parameters
    ----------
    cfg : DictConfig
        From `compose`, or of a running command.
    changes : sequence of str
        As on the command line, such as ``["portfolio=risk_parity", "strategy.fast=24"]``.

    Raises
    ------
    ConfigError
        As `compose`.
    """
    node = _hydra_node(cfg)
    if node is None:
        raise ConfigError("cfg must come from a command or from compose, did not")
    added = [s.path for s in node.runtime.config_sources if s.provider == "command-line"]
    search = [f"hydra.searchpath=[{','.join(f'file://{Path(p).resolve()}' for p in added)}]"]
    own = next(s.path for s in node.runtime.config_sources if s.provider == "main")
    return compose(
        str(node.job.config_name),
        [*(str(text) for text in node.overrides.task), *changes, *(search if added else [])],
        folder=Path(own),
    )


def group_options(cfg: DictConfig, groups: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of the options of some config groups, from every folder that a configuration was composed of.

    Raises
    ------
    ConfigError
        If `cfg` comes neither from a command nor from `compose`.
    """
    node = _hydra_node(cfg)
    if node is None:
        raise ConfigError("cfg must come from a command or from compose, did not")
    folders = [Path(s.path) for s in node.runtime.config_sources if s.schema == "file"]
    return {
        group: sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
        for group in groups
    }


def check_known(cfg: DictConfig) -> None:
    """Refuse keys that only an experiment or the command line holds, outside nodes with a `_target_`, and a bad seed.

    Raises
    ------
    ConfigError
        Naming the first such key, its place, the nearest known key and the known ones; or if ``seed`` is no whole
        number from zero on.
    """
    _refuse_added(_plain(cfg, resolve=False), "", _origins(cfg))
    seed = cfg.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        shown = "null" if seed is None else repr(seed)
        place = _origins(cfg).locate("seed")
        raise ConfigError(
            f"seed must be a whole number >= 0, was {shown}{f' ({place})' if place else ''}"
        )


def writable_folder(path: str, *, key: str) -> Path:
    """Return a setting as the folder that results can be written to, before anything is computed; makes nothing.

    Raises
    ------
    ConfigError
        If the folder cannot be written to or made; the message names `key`.
    """
    folder = Path(path)
    standing = next(f for f in (folder, *folder.absolute().parents) if os.path.lexists(f))
    try:
        tempfile.TemporaryDirectory(prefix=".quantcore-", dir=standing).cleanup()
    except OSError as error:
        raise ConfigError(f"{key} must be a writable folder, was {path}") from error
    return folder


def plain_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved settings as plain dictionaries, lists and scalars, without Hydra's own."""
    plain: dict[str, Any] = _resolved(cfg)
    return plain


def resolved_yaml(cfg: DictConfig) -> str:
    """Return the resolved settings as YAML with sorted keys: the text of a results folder's `config.yaml`.

    The same settings give the same text, in whatever order files and overrides named them.
    """
    return yaml.safe_dump(_resolved(cfg), sort_keys=True, allow_unicode=True, width=100)


def config_hash(cfg: DictConfig) -> str:
    """Return the SHA-256 of `resolved_yaml`, as hexadecimal text."""
    return hashlib.sha256(resolved_yaml(cfg).encode()).hexdigest()


def run_command(
    primary: str,
    task: Callable[[DictConfig], int | None],
    *,
    folder: Path | None = None,
    bare: str | None = None,
) -> int:
    """Run a command from the process's arguments and return its exit code; every `__main__` is one call of this.

    ``raise SystemExit(run_command("backtest", main))`` gives ``--help``, ``--cfg job``, overrides and multirun
    (``-m``, every job runs and says first which it is, the worst code counts; with ``hydra/launcher=ray`` that of the
    first job which failed). Refused settings and data, and a package of one of our extras that is not installed, end in
    one line on stderr and code 2, Ctrl-C in code 130. An error that no check of ours raised is a defect: it keeps its
    traceback and ends in code 1; where it happened inside a strategy, only the strategy's own frames are shown. With
    the environment variable ``QUANTCORE_TRACEBACK`` at 1 every error shows its whole traceback, with the same code.

    Parameters
    ----------
    primary : str
        The primary option file, such as ``"backtest"``.
    task : callable
        Takes the composed configuration; its return is the exit code, None is success.
    folder : Path, optional
        The folder of option files; `conf_folder()` if left out.
    bare : str, optional
        The setting that takes arguments without ``=`` as its list, such as ``"folders"``; without it they are refused.

    Returns
    -------
    int
        The exit code.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    flags = [a for a in sys.argv[1:] if not _is_override(a)]
    argv = [sys.argv[0], *flags, *(a for a in sys.argv[1:] if _is_override(a))]
    argv[1:], refused = _checked_arguments(argv[1:], bare)
    if refused:
        return _report(refused)
    sys.excepthook = _show_defect
    job = _Job(task, tuple(argv[1:]))
    start = hydra.main(
        version_base="1.3", config_path=str(folder or conf_folder()), config_name=primary
    )(job)
    try:
        with _scratch(), _arguments(argv):
            _join_cluster(primary, argv[1:], folder)
            start()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except _RemoteFailure as failure:
        return failure.code
    except _REPORTED as error:
        if error is job.defect:
            raise
        return _report_error(error)
    return max(job.codes, default=0)


class _RemoteFailure(Exception):
    """Carries the exit code of a job that ran in another process."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Job:
    """The task as Hydra calls it, once per job; a launcher may send it to another process."""

    def __init__(
        self, task: Callable[[DictConfig], int | None], arguments: tuple[str, ...]
    ) -> None:
        self.task = task
        self.arguments = arguments
        self.process = os.getpid()
        self.folder = str(Path.cwd())
        self.codes: list[int] = []
        self.defect: BaseException | None = None

    def __call__(self, cfg: DictConfig) -> int:
        if os.getpid() != self.process:
            return self._elsewhere(cfg)
        code = self._ended(cfg)
        self.codes.append(code)
        return code

    def _ended(self, cfg: DictConfig) -> int:
        """Return the task's exit code, with what was refused as one line, and of a multirun what the job is first."""
        try:
            check_known(cfg)
            if job := self.swept():
                print(f"job {job}")
            return self.task(cfg) or 0
        except ModuleNotFoundError as error:
            if not refusal(error):
                self.defect = error
                raise
            return _report_error(error, job=self.swept())
        except _REPORTED as error:
            if not _is_deliberate(error):
                self.defect = error
                raise
            return _report_error(error, job=self.swept())

    def _elsewhere(self, cfg: DictConfig) -> int:
        """Run the task where a launcher sent it, as if it were run where the command was started.

        What it prints comes in one piece, so that jobs which run at the same time do not mix theirs.
        """
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                self._enter_folder()
                code = self._ended(cfg)
        except _REPORTED as error:
            if error is not self.defect:
                code = _report_error(error, job=self.swept())
            else:
                _show_defect(type(error), error, error.__traceback__)
                code = DEFECT
        print(printed.getvalue(), end="", flush=True)
        with contextlib.suppress(OSError):  # Hydra made them for files that no job of ours writes
            made = Path(HydraConfig.get().runtime.output_dir)
            made.rmdir()
            made.parent.rmdir()
        if code:
            raise _RemoteFailure(code)
        return code

    def _enter_folder(self) -> None:
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ConfigError(
                f"the command's folder must be there on every machine of the cluster, was {self.folder}"
            ) from error

    def swept(self) -> str:
        """Return the values by which a job of a multirun differs from its command line."""
        if not HydraConfig.initialized():
            return ""
        given = HydraConfig.get().overrides.task
        return " ".join(str(text) for text in given if text not in self.arguments)


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _checked_arguments(arguments: list[str], bare: str | None) -> tuple[list[str], str]:
    """Return arguments as Hydra takes them, and what is wrong with those that are neither flags nor overrides."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            parsed, rest = get_args_parser().parse_known_args(arguments)
            words = [a for a in (*parsed.overrides, *rest) if not _is_override(a)]
            if words and not words[0].startswith("-"):
                if bare is None:
                    return arguments, f"{words[0]!r} must be key=value"
                arguments = _gathered(arguments, words, bare)
            get_args_parser().parse_args(arguments)
    except SystemExit as end:
        if end.code:
            return arguments, printed.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise
    return arguments, ""


def _gathered(arguments: list[str], words: list[str], key: str) -> list[str]:
    """Return the arguments with those that are bare words as one list, which is the value of a key."""
    left, items = list(arguments), []
    for word in words:
        if not word.startswith("-"):
            left.remove(word)
            # In Hydra's grammar a quote ends the text unless a backslash stands before it, and so for backslashes.
            safe = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), word)
            items.append(f"'{safe}'")
    return [*left, f"{key}=[{','.join(items)}]"]


def _join_cluster(primary: str, arguments: Sequence[str], folder: Path | None) -> None:
    """Join the cluster of ``hydra/launcher=ray`` first: the launcher itself can join none that runs.

    Raises
    ------
    ConfigError
        If the launcher is not installed, or no cluster is at ``hydra.launcher.ray.init.address``.
    """
    if _RAY not in arguments or not get_args_parser().parse_args(list(arguments)).multirun:
        return
    # Read when Ray is imported: every job's lines are shown, also where another printed the same.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    chosen = [text for text in arguments if text.lstrip("+").startswith("hydra.launcher.")]
    launcher = compose(primary, [_RAY, *chosen], folder=folder).hydra.launcher
    settings: Any = OmegaConf.to_container(launcher.ray.init, resolve=True)
    address = settings.pop("address", None)
    ours = {key: value for key, value in os.environ.items() if key.startswith("QUANTCORE_")}
    options = {"log_to_driver": True, "runtime_env": {"env_vars": ours}, **settings}
    connect(address, name=_RAY_ADDRESS, **options)


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """Give Hydra's multirun a folder for the files that it insists on writing, and remove it."""
    with tempfile.TemporaryDirectory(prefix="quantcore-") as name:
        os.environ["QUANTCORE_SCRATCH"] = name
        try:
            yield
        finally:
            del os.environ["QUANTCORE_SCRATCH"]


@contextlib.contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    given, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = given


def _report(text: str) -> int:
    print(text, file=sys.stderr)
    return BAD_INPUT


def _wants_traceback() -> bool:
    return os.environ.get("QUANTCORE_TRACEBACK") == "1"


def _report_error(error: BaseException, *, job: str = "") -> int:
    if _wants_traceback():
        traceback.print_exception(error)
    text = _explain(error)
    return _report(f"{text} [job {job}]" if job else text)


def _show_defect(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """Print an uncaught error as Python does, from the first frame of the user's strategy on where it has one."""
    if not _wants_traceback():
        owners = [str(f.f_globals.get("__name__", "")) for f, _ in traceback.walk_tb(trace)]
        start = max((k + 1 for k, owner in enumerate(owners) if owner in _CALLERS), default=0)
        if start < len(owners):
            while start < len(owners) and owners[start].partition(".")[0] == "importlib":
                start += 1
            for _ in range(start):
                trace = trace.tb_next if trace else None
    traceback.print_exception(kind, error, trace)


def _is_deliberate(error: BaseException) -> bool:
    """Return whether a check of ours raised the error, rather than a library that was called wrongly."""
    if isinstance(error, _FOREIGN) or not isinstance(error, ValueError | TypeError):
        return True
    frames = list(traceback.walk_tb(error.__traceback__))
    owner = str(frames[-1][0].f_globals.get("__name__", "")).split(".")[0]
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    return owner in _OWN_CODE and line.startswith("raise ")


def _explain(error: BaseException) -> str:
    """Return an error of ours, Hydra's, OmegaConf's or YAML's as one line that helps."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        known = [str(option) for option in error.options or ()]
        near = nearest(name, known)
        text = f"no {group or 'command'} {name!r}" + (f"; nearest: {near}" if near else "")
        return text + (f"; known: {', '.join(sorted(known))}" if known else "")
    if isinstance(error, ModuleNotFoundError):
        return refusal(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override} must be an override that Hydra can read: {one_line(error)}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem}"
    if isinstance(error, _MISSING_FILE) and error.filename:
        return f"{error.strerror}: {error.filename}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OmegaConfBaseException) and "not in struct" in str(cause):
            parent: Any = cause.parent_node or {}
            known = [str(k) for k in parent if k not in ("hydra", TARGET)]
            deeper = [p for k in known for p in _paths(parent._get_node(k), k)]
            return one_line(unknown_key(str(cause.full_key), known, COMMAND_LINE, deeper=deeper))
        cause = cause.__cause__
    paragraph = str(error).strip().split("\n\n")[0]
    return " ".join(paragraph.split()) or type(error).__name__


def _paths(node: Any, path: str) -> Iterator[str]:
    """Yield the paths of the settings below a node."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    for key in node:
        if key != TARGET:
            below = f"{path}.{key!s}"
            yield below
            yield from _paths(node._get_node(key), below)


def _experiment_name(*, _root_: DictConfig) -> str:
    """Resolve ``${experiment_name:}``: the chosen experiment, else the command's name."""
    node = _hydra_node(_root_)
    if node is None:
        return "unnamed"
    chosen = node.runtime.choices.get("experiment") or node.job.name
    return re.sub(r"[^\w.+-]+", "-", str(chosen)).strip("-")


OmegaConf.register_new_resolver("experiment_name", _experiment_name, replace=True)


def _hydra_node(node: Any) -> Any:
    """Return Hydra's own settings: from the same configuration where `compose` left them, else of the run."""
    root = node._get_root()
    if isinstance(root, DictConfig) and "hydra" in root:
        return root.hydra
    return HydraConfig.get() if HydraConfig.initialized() else None


def _plain(node: Any, *, resolve: bool) -> Any:
    """Return plain containers, without Hydra's node: outside a running job its own values cannot be resolved."""
    if node._get_parent() is not None or "hydra" not in node:
        return OmegaConf.to_container(node, resolve=resolve)
    plain: Any = OmegaConf.to_container(node, resolve=False)
    for key in [key for key in node if key != "hydra"]:
        child = node._get_node(key)
        if OmegaConf.is_config(child):
            plain[key] = OmegaConf.to_container(child, resolve=resolve)
        elif resolve and not child._is_missing():
            plain[key] = node[key]
    return {key: plain[key] for key in plain if key != "hydra"}


def _resolved(node: Any) -> Any:
    try:
        return _plain(node, resolve=True)
    except OmegaConfBaseException as error:
        key = str(error.full_key or "")
        place = _origins(node).locate(key)
        raise ConfigError(f"{key}: {one_line(error)}{f' ({place})' if place else ''}") from error


def _origins(config: Any) -> Origins:
    node = _hydra_node(config)
    if node is None:
        return Origins()
    choices: dict[str, Sequence[str]] = {}
    for key, option in node.runtime.choices.items():
        if option is not None and not str(key).startswith("hydra/"):
            choices[str(key)] = [option] if isinstance(option, str) else [str(o) for o in option]
    return Origins.of_run(
        folders={
            Path(s.path): _folder_label(Path(s.path), own=s.provider != "command-line")
            for s in node.runtime.config_sources
            if s.schema == "file"
        },
        primary=str(node.job.config_name),
        choices=choices,
        overrides=[str(text) for text in node.overrides.task],
    )


def _folder_label(folder: Path, *, own: bool) -> str:
    """Return how messages name a folder of option files: ours by its name, another as seen from here."""
    if own:
        return folder.name.lstrip("_")
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(folder)


def _refuse_added(plain: Any, path: str, origins: Origins) -> None:
    if not isinstance(plain, dict) or TARGET in plain or not origins.files:
        return
    known = origins.defined(path)
    for key, item in plain.items():
        at = f"{path}.{key}" if path else str(key)
        if at in DIFF_GROUPS:
            raise ConfigError(
                f"{at} must begin with the line '# @package _global_' ({origins.locate(at)})"
            )
        if key not in known:
            groups = set() if path else origins.groups
            raise unknown_key(at, (known | groups) - {"hydra"}, origins.locate(at))
        _refuse_added(item, at, origins)
