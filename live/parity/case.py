"""What is compared: one span of data, the settings, and the saved state from which both sides begin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from quantcore.account_plane import AccountPlane, AccountSettings, account_plane
from quantcore.backtest.engine import traded_instruments
from quantcore.data.instruments import Instrument
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import exits_of
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.risk.limits import RiskSettings
from quantcore.signal_plane import SignalSettings, signals
from quantcore.timegrid import DAY_US, interval_us


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison.

    Parameters
    ----------
    data : MarketData
        With the traded span at its end.
    signal, account, execution, risk
        As of a backtest.
    begin : int
        Row of the first execution bar that is traded.
    state : FoldState or None
        Of the signal plane before the first decision, through save and load; None at the data's beginning.
    """

    data: MarketData = field(repr=False)
    signal: SignalSettings
    account: AccountSettings
    execution: ExecutionSettings
    risk: RiskSettings | None
    begin: int
    state: FoldState | None = field(repr=False)

    @property
    def bars(self) -> Bars:
        """The execution bars that are traded."""
        return self.data.bars.rows(self.begin, self.data.bars.n_bars)

    @property
    def begun(self) -> Bars:
        """The execution bars before them of the decision bar that closes with the first."""
        length = interval_us(self.data.interval) // interval_us(self.data.bars.interval)
        return self.data.bars.rows(max(self.begin + 1 - length, 0), self.begin)

    @property
    def venue_data(self) -> MarketData:
        """The same market with its clock at the open of the first traded bar."""
        bars = self.data.bars
        return replace(self.data, start_us=int(bars.ts_us[self.begin]) - interval_us(bars.interval))

    def instruments(self) -> tuple[Instrument, ...]:
        """Return the rules by which both sides trade."""
        return traded_instruments(self.data)

    @staticmethod
    def wallet(state: FoldState) -> float:
        """Return the wallet balance of an account's state, isolated margin included, USDT."""
        return float(state["cash"][at.WALLET] + state["position"][:, at.MARGIN].sum())

    def plane(self, instruments: tuple[Instrument, ...]) -> AccountPlane:
        """Return the account plane of the traded span."""
        return account_plane(
            instruments,
            interval=self.data.bars.interval,
            account=self.account,
            execution=self.execution,
            exits=exits_of(self.signal.strategy),
            risk=self.risk,
        )


def narrowed(data: MarketData, *, days: int, symbols: int) -> MarketData:
    """Return the last days of some data, traded from their beginning, with the symbols that trade most in them.

    A symbol may be listed within the days; one that has ended by their end is left out.

    Parameters
    ----------
    data : MarketData
        What there is; what lies before the days warms the signals up.
    days : int
        How many, >= 1.
    symbols : int
        How many at most, >= 1.

    Raises
    ------
    ConfigError
        If the data is shorter.
    """
    bars = data.bars
    start_us = int(bars.ts_us[-1]) - days * DAY_US
    if start_us <= int(bars.ts_us[0]):
        held = (int(bars.ts_us[-1]) - int(bars.ts_us[0])) // DAY_US
        raise ConfigError(f"parity.days must be < {held}, which the data holds, was {days}")
    first = int(np.searchsorted(bars.ts_us, start_us))
    trades = ~np.isnan(bars.array("close")[-1])
    traded = np.zeros(bars.n_symbols)
    if bars.has("volume"):
        traded = np.nansum((bars.array("volume") * bars.array("close"))[first:], axis=0)
    ranked = sorted(np.flatnonzero(trades).tolist(), key=lambda s: -traded[s])
    if not ranked:
        raise ConfigError("parity must have a symbol that trades at the end of the data, had none")
    chosen = sorted(bars.symbols[s] for s in ranked[:symbols])
    return replace(data, bars=bars.select(chosen), start_us=start_us, ends_us={})


def case_of(
    data: MarketData,
    *,
    signal: SignalSettings,
    account: AccountSettings,
    execution: ExecutionSettings,
    risk: RiskSettings | None,
) -> Case:
    """Return the comparison of a span, with the signal plane's state at its beginning.

    Raises
    ------
    ConfigError
        If no decision falls into the traded span, or the exchange has no word for a setting.
    """
    check_words(data.bars.interval, account, execution, where="parity")
    decision_bars = data.decision_bars()
    start_us = decision_bars.ts_us[0] if data.start_us is None else data.start_us
    first = int(np.searchsorted(decision_bars.ts_us, start_us))
    if first >= decision_bars.n_bars:
        raise ConfigError("parity must have a decision within its days, had none")
    state = None
    if first > 0:
        found = signals(decision_bars.rows(0, first), signal)
        state = FoldState.from_bytes(found.state.to_bytes())
    begin = int(np.searchsorted(data.bars.ts_us, decision_bars.ts_us[first]))
    return Case(
        data=data,
        signal=signal,
        account=account,
        execution=execution,
        risk=risk,
        begin=begin,
        state=state,
    )


def check_words(
    interval: str, account: AccountSettings, execution: ExecutionSettings, *, where: str
) -> None:
    """Refuse what a backtest can do and an exchange in lock-step cannot be told.

    Parameters
    ----------
    interval : str
        Of the execution bars.
    account, execution
        As of a backtest.
    where : str
        Under which that is so, such as ``"parity"``.

    Raises
    ------
    ConfigError
        If there is no word for a setting.
    """
    if account.cash_flows:
        raise ConfigError(
            f"account.cash_flows must be empty under {where}, for no request moves money, were "
            f"{len(account.cash_flows)}"
        )
    bar_ms = interval_us(interval) / 1000
    if execution.latency_ms > bar_ms:
        raise ConfigError(
            f"execution.latency_ms must be <= {bar_ms:,.0f} under {where}, one execution bar, "
            f"was {execution.latency_ms:,.0f}"
        )
