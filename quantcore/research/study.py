"""A study: one configuration, its data loaded once, and any number of parameter sets that change its settings.

A set is a mapping from override paths to plain values, such as ``{"strategy.fast": 24, "portfolio": "risk_parity"}``,
and means what the same overrides mean on the command line. Choices of whole options (a path that is a config group)
are composed anew, once for each combination; single values are put into the composed settings, which takes
microseconds, and the settings built from them are checked as always. What a set cannot be (``fast`` above ``slow``) is
refused for that set alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from quantcore.account_plane import AccountSettings
from quantcore.backtest.engine import Decided, decide
from quantcore.backtest.experiment import run_configured
from quantcore.backtest.result import Run
from quantcore.config import build, group_options, plain_settings, recompose
from quantcore.data.sources import DataSource, MarketData
from quantcore.data.universe import UniverseSettings
from quantcore.errors import ConfigError
from quantcore.execution.settings import ExecutionSettings
from quantcore.regime.detector import RegimeSettings
from quantcore.research.sets import override_text
from quantcore.risk.limits import RiskSettings
from quantcore.settings import build_settings
from quantcore.signal_plane import PORTFOLIOS, SignalSettings
from quantcore.signals.plain import Progress
from quantcore.signals.strategy_matrix import MatrixSettings
from quantcore.timegrid import DAY_US

if TYPE_CHECKING:
    from omegaconf import DictConfig

Values = Mapping[str, Any]
"""One parameter set: plain values by override path."""

SIGNAL_NODES = ("strategy", "portfolio", "universe", "regime", "matrix")
"""Parts of the settings on which target weights depend."""
ACCOUNT_NODES = ("account", "risk", "execution")
"""Parts on which only the account does."""
NODES = (*SIGNAL_NODES, *ACCOUNT_NODES)
"""Parts that a parameter set may change; everything else is the same for all sets."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The built settings of one parameter set."""

    signal: SignalSettings
    account: AccountSettings
    execution: ExecutionSettings
    risk: RiskSettings | None


@dataclass(frozen=True, kw_only=True)
class Study:
    """One configuration with its data, from which parameter sets are built and run.

    Build it with `study_of`.

    Parameters
    ----------
    cfg : DictConfig
        What the command runs with; sets change it.
    data : MarketData
        Loaded once, shared by all sets.
    """

    cfg: DictConfig = field(repr=False)
    data: MarketData = field(repr=False)
    _bases: dict[tuple[tuple[str, str], ...], dict[str, Any]] = field(
        default_factory=dict, repr=False
    )
    _nodes: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was built: it is made again where it is needed."""
        return {**self.__dict__, "_nodes": {}}

    @cached_property
    def groups(self) -> frozenset[str]:
        """The parts of the settings whose options can be chosen as a whole, such as ``portfolio=risk_parity``."""
        return frozenset(NODES)

    @cached_property
    def options(self) -> Mapping[str, Sequence[str]]:
        """The options of each of these parts."""
        return group_options(self.cfg, NODES)

    @property
    def n_days(self) -> int:
        """About how many daily returns a set has."""
        start_us = self.data.start_us or int(self.data.bars.ts_us[0])
        return int((int(self.data.bars.ts_us[-1]) - start_us) // DAY_US) + 2

    def configs(self, chosen: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """Return the plain settings as they are, and with each of some options alone."""
        found = [self._base({})]
        for group, options in chosen.items():
            found += [self._base({group: option}) for option in options]
        return found

    def prepare(self, sets: Iterable[Values]) -> None:
        """Compose every combination of options that some sets choose, here and not in the processes that run them.

        Raises
        ------
        ConfigError
            If an option does not exist.
        """
        for values in sets:
            self._base(values)

    def variant(self, values: Values) -> Variant:
        """Return the built settings of a set.

        Raises
        ------
        ConfigError
            If the settings refuse a value.
        """
        base = self._base(values)
        changes = {path: value for path, value in values.items() if path not in self.groups}
        nodes = {name: self._node(base, values, name, changes) for name in NODES}
        return Variant(
            signal=SignalSettings(**{name: nodes[name] for name in SIGNAL_NODES}),
            account=nodes["account"],
            execution=nodes["execution"],
            risk=nodes["risk"],
        )

    def decided(self, values: Values, *, progress: Progress = iter) -> Decided:
        """Return what the signal plane says with a set: the first half of a backtest."""
        signal = self.variant(values).signal
        return decide(self.data_for(signal), signal=signal, progress=progress)

    def chosen(self, values: Values) -> dict[str, Any]:
        """Return the plain settings with the whole options that a set chooses, before its single values."""
        return self._base(values)

    def configured(self, values: Values) -> DictConfig:
        """Return the whole configuration with a set, as the command line would give it."""
        return recompose(
            self.cfg, [f"{path}={override_text(value)}" for path, value in values.items()]
        )

    def run(self, values: Values) -> Run:
        """Return the whole backtest of a set, as its command would run it."""
        cfg = self.configured(values)
        return run_configured(cfg, self.data_for(self.variant(values).signal))

    def data_for(self, signal: SignalSettings) -> MarketData:
        """Return the data as a signal plane needs it; whether a universe reviews the symbols cannot vary.

        Raises
        ------
        ConfigError
            If it does.
        """
        reviewed = self.variant({}).signal.universe is not None
        if (signal.universe is not None) != reviewed:
            raise ConfigError(
                "universe must be reviewed in all sets or in none: the data loaded depends on it"
            )
        return self.data

    def signal_key(self, values: Values) -> tuple[tuple[str, str], ...]:
        """Return the part of a set on which target weights depend: equal keys share one signal plane."""
        return _part(values, SIGNAL_NODES)

    def portfolio_key(self, values: Values) -> tuple[tuple[str, str], ...]:
        """Return the part of a set that lies between forecasts and weights."""
        return _part(values, SIGNAL_NODES[1:])

    def _base(self, values: Values) -> dict[str, Any]:
        chosen = tuple(
            sorted((path, str(value)) for path, value in values.items() if path in self.groups)
        )
        if chosen not in self._bases:
            cfg = recompose(self.cfg, [f"{g}={option}" for g, option in chosen])
            self._bases[chosen] = plain_settings(cfg) if chosen else plain_settings(self.cfg)
        return self._bases[chosen]

    def _node(self, base: dict[str, Any], values: Values, name: str, changes: Values) -> Any:
        own = {p: v for p, v in changes.items() if p.partition(".")[0] == name}
        key = (name, id(base), tuple((p, override_text(v)) for p, v in own.items()))
        if key not in self._nodes:
            if len(self._nodes) > _KEPT:
                self._nodes.clear()
            node = copy.deepcopy(base[name])
            for path, value in own.items():
                _put(node, path, value)
            kind = _KINDS[name]
            self._nodes[key] = (
                build_settings(node, path=name, kind=kind) if node or name == "strategy" else None
            )
        return self._nodes[key]


_KEPT = 4096
"""Built parts that are kept for the sets that share them."""

_KINDS: Mapping[str, Any] = {
    "strategy": Any,
    "portfolio": PORTFOLIOS,
    "universe": UniverseSettings,
    "regime": RegimeSettings,
    "matrix": MatrixSettings,
    "account": AccountSettings,
    "risk": RiskSettings,
    "execution": ExecutionSettings,
}


def study_of(cfg: DictConfig, data: MarketData | None = None) -> Study:
    """Return the study of a configuration, with its data loaded unless it is given.

    Raises
    ------
    ConfigError, DataGap, SchemaMismatch
        As a backtest of the same configuration.
    """
    if data is None:
        source: DataSource = build(cfg.data)
        data = source.load(reviewed=bool(cfg.universe))
    return Study(cfg=cfg, data=data)


def _part(values: Values, nodes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    held = [(path, value) for path, value in values.items() if path.partition(".")[0] in nodes]
    return tuple(sorted((path, override_text(value)) for path, value in held))


def _put(node: Any, path: str, value: Any) -> None:
    """Set a value of a nested node by its path, whose first part names the node itself.

    Raises
    ------
    ConfigError
        If the path leads through something that has no keys, such as a part that is switched off.
    """
    *parents, last = path.split(".")[1:]
    at = node
    for name in parents:
        at = at.get(name) if isinstance(at, dict) else None
    if not isinstance(at, dict) or last not in at:
        raise ConfigError(f"{path} must be a setting of the chosen options, was not there")
    at[last] = value
