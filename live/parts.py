"""What a session of the loop is made of, from its settings or from what an earlier one wrote down of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from quantcore.account_plane import AccountPlane, AccountSettings, account_plane
from quantcore.config import build, resolved_yaml
from quantcore.data.instruments import Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import exits_of
from quantcore.kernels import layout as at
from quantcore.risk.limits import RiskSettings
from quantcore.settings import build_settings
from quantcore.signal_plane import SignalSettings

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from live.journal.records import KeptSession

_INSTRUMENTS = "instruments"
_ASKED_US = 1.0
"""Latency of a live account plane: not at once, so that a cancel is asked for and its end is the exchange's word."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The settings of both folds.

    Parameters
    ----------
    signal, account, execution, risk
        As of a backtest.
    interval, execution_interval : str
        Of decisions, and of the bars that the account sees.
    in_order : bool
        Whether the exchange is one in lock-step, as a paper account is: it ends an order in the moment it is told to.
    """

    signal: SignalSettings
    account: AccountSettings
    execution: ExecutionSettings
    risk: RiskSettings | None
    interval: str
    execution_interval: str
    in_order: bool

    def plane(self, instruments: Sequence[Instrument]) -> AccountPlane:
        """Return the account plane of a live account."""
        plane = account_plane(
            instruments,
            interval=self.execution_interval,
            account=self.account,
            execution=self.execution,
            exits=exits_of(self.signal.strategy),
            risk=self.risk,
        )
        if self.in_order:
            return plane
        config = plane.config.copy()
        config[at.LATENCY_US] = _ASKED_US
        return replace(plane, config=config)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The parts of a session that was written down, and the rules by which it traded."""

    parts: Parts = field(repr=False)
    instruments: tuple[Instrument, ...] = field(repr=False)

    @property
    def plane(self) -> AccountPlane:
        """Its account plane."""
        return self.parts.plane(self.instruments)


def parts_of(cfg: DictConfig) -> Parts:
    """Build the settings of both folds.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of its range.
    """
    from quantcore.backtest.experiment import signal_settings

    return Parts(
        signal=signal_settings(cfg),
        account=build(cfg.account, AccountSettings),
        execution=build(cfg.execution, ExecutionSettings),
        risk=build(cfg.risk, RiskSettings) if cfg.risk else None,
        interval=str(cfg.data.interval),
        execution_interval=str(cfg.data.execution_interval),
        in_order=cfg.conf.mode == "paper",
    )


def session_text(cfg: DictConfig, instruments: Sequence[Instrument]) -> str:
    """Return settings and rules as the text that a session keeps of them."""
    rules = {_INSTRUMENTS: [_plain(asdict(instrument)) for instrument in instruments]}
    return resolved_yaml(cfg) + yaml.safe_dump(rules, sort_keys=True)


def kept(session: KeptSession) -> Kept:
    """Return what a session kept of its settings and rules."""
    cfg, instruments = kept_settings(session)
    return Kept(parts=parts_of(cfg), instruments=instruments)


def kept_settings(session: KeptSession) -> tuple[DictConfig, tuple[Instrument, ...]]:
    """Return the settings and the rules that a session kept, for who needs not all that is made of them."""
    from omegaconf import OmegaConf

    plain: dict[str, Any] = yaml.safe_load(session.session.config_yaml)
    rules = plain.pop(_INSTRUMENTS)
    return OmegaConf.create(plain), tuple(build_settings(each, kind=Instrument) for each in rules)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
