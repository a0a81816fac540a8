"""A finished backtest as a notebook sees it: numbers, tables, figures and pages, each made when it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from quantcore import plots
from quantcore.backtest.curves import Curves, curves
from quantcore.backtest.markup import day, money, plural
from quantcore.backtest.metrics import compute_metrics, run_trades, span
from quantcore.backtest.outlook import Outlook, outlook
from quantcore.backtest.overview import overview
from quantcore.backtest.page import Page
from quantcore.backtest.report import SavedRun, write_page, write_run
from quantcore.backtest.result import Recorded, Run
from quantcore.backtest.run_cards import Metrics, run_card
from quantcore.backtest.summary import print_heading, print_summary
from quantcore.backtest.tearsheet import tearsheet
from quantcore.backtest.vectorbt_bridge import held_marks, run_marks, vectorbt_portfolio
from quantcore.backtest.verdict import Findings, findings, trials_told
from quantcore.config import writable_folder
from quantcore.errors import ConfigError, DataGap, QuantcoreError
from quantcore.frames import Bars
from quantcore.overrides import cause, told
from quantcore.signal_plane import Signals
from quantcore.types import Panel

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, eq=False, repr=False)
class RunView(ABC):
    """A finished backtest, made now (`NewRun`) or read from a results folder (`OpenedRun`).

    Everything is made when it is first asked for and then kept; tables are handed out as copies, so that nothing
    which is done to them changes the run.

    Parameters
    ----------
    name : str
        The experiment.
    """

    name: str

    @property
    @abstractmethod
    def recorded(self) -> Recorded:
        """What all else follows from."""
        ...

    @property
    @abstractmethod
    def _metrics(self) -> Mapping[str, Any]: ...

    @property
    def metrics(self) -> Metrics:
        """The keys of `metrics.json`: fractions, USDT, None where a value is unknown."""
        return Metrics(self._metrics)

    @cached_property
    def curve(self) -> Curves:
        """Equity, unit value, drawdown, daily returns and the benchmark."""
        return curves(self.recorded)

    @property
    def daily_returns(self) -> pd.Series:
        """Daily UTC returns without deposits and withdrawals, as fractions."""
        return self.curve.daily.rename("daily_return").copy(deep=False)

    @cached_property
    def _findings(self) -> Findings:
        return findings(self.recorded, self._metrics, self.curve)

    @property
    def verdict(self) -> str:
        """What the run comes to, and whether it can be told from luck."""
        return self._findings.verdict

    @property
    def trials(self) -> str:
        """How many trials the run is the best of, and what counting them leaves of its Sharpe ratio."""
        return trials_told(self.recorded, self._metrics)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings."""
        settings = yaml.safe_load(self._config_yaml)
        return dict(settings) if isinstance(settings, dict) else {}

    @property
    @abstractmethod
    def _config_yaml(self) -> str: ...

    @property
    @abstractmethod
    def manifest(self) -> dict[str, Any]:
        """Versions, commit, seeds, and the hashes of settings, sources and data."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the data and about what the model leaves out."""
        return self.recorded.notes

    @property
    def equity(self) -> pd.DataFrame:
        """Equity, margin and exposure at each decision, and at the last bar; index `ts`."""
        return self._table("equity").set_index("ts")

    @property
    def fills(self) -> pd.DataFrame:
        """Every fill, liquidations and settlements too; `ts` is the close of the bar in which it happened."""
        return self._table("fills")

    @property
    def orders(self) -> pd.DataFrame:
        """Every order with how it ended."""
        return self._table("orders")

    @property
    def trades(self) -> pd.DataFrame:
        """Round trips, from the first fill of a position to the one that closes or turns it."""
        return self._trades.copy(deep=False)

    @property
    @abstractmethod
    def _trades(self) -> pd.DataFrame: ...

    @property
    def positions(self) -> pd.DataFrame:
        """What was held at each row of `equity`."""
        return self._table("positions")

    @property
    def funding(self) -> pd.DataFrame:
        """Every funding payment; `amount` in USDT, > 0 is paid."""
        return self._table("funding")

    @property
    def liquidations(self) -> pd.DataFrame:
        """Every liquidation with its fee and what the insurance fund took over."""
        return self._table("liquidations")

    @property
    def cash_flows(self) -> pd.DataFrame:
        """Deposits > 0 and withdrawals < 0."""
        return self._table("cash_flows")

    @property
    def targets(self) -> Panel:
        """Target weights at each decision before risk; index `ts`, a column per symbol."""
        return self._table("targets")

    @property
    def reasons(self) -> pd.DataFrame:
        """Each order that was cut or refused and each intervention, with its rule and numbers."""
        return self._table("reasons")

    def _table(self, name: str) -> pd.DataFrame:
        return self.recorded.tables[name].copy(deep=False)

    def plot(self, *, theme: str = "neutral") -> Figure:
        """Return equity with BTC held, drawdown and exposure as one plotly figure.

        Parameters
        ----------
        theme : str
            ``"neutral"`` reads on light and dark pages; ``"light"`` and ``"dark"`` are those of the tearsheet.
        """
        equity = self.recorded.tables["equity"]
        spec = overview(
            self.curve, equity, capital=self.recorded.capital, benchmark=self._findings.benchmark
        )
        return plots.figure(spec, theme=theme)

    def tearsheet(self, path: str | Path | None = None) -> Page:
        """Return the report, which a notebook shows in a frame; write it where a path is given.

        Raises
        ------
        ConfigError
            If the path is a folder, or no file can be written there.
        """
        try:
            return Page(
                self._tearsheet, None if path is None else write_page(self._tearsheet, path)
            )
        except ConfigError as error:
            raise told(error) from cause(error)

    @property
    @abstractmethod
    def _tearsheet(self) -> str: ...

    @cached_property
    def vbt(self) -> Any:
        """The run as a ``vectorbt.Portfolio``, its value equal to `equity`; see `vectorbt_portfolio`.

        Raises
        ------
        ConfigError
            If vectorbt is not installed.
        """
        return vectorbt_portfolio(self.recorded, self._marks())

    def _marks(self) -> Panel:
        return held_marks(self.recorded)

    def summary(self) -> None:
        """Print what the command prints: headline numbers, costs and the scorecard."""
        print_heading(self.recorded, experiment=self.name)
        print_summary(self.recorded, self._metrics)

    def __repr__(self) -> str:
        """Return what was run and what became of the money; estimates nothing."""
        run, about = self.recorded, span(self.recorded)
        final = float(run.tables["equity"]["equity"].iloc[-1])
        return (
            f"{self.name}: {money(run.capital)} USDT became {money(final)}; {day(about['start'])} to "
            f"{day(about['end'])}, {plural(about['symbols'], 'symbol')}, {run.interval} decisions"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return run_card(self.name, self.recorded, self._findings)

    def __getstate__(self) -> dict[str, Any]:
        """Return the run without what was derived from it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


@dataclass(frozen=True, eq=False, repr=False)
class NewRun(RunView):
    """A backtest that was run in this process.

    Parameters
    ----------
    result : Run
        The run itself.
    """

    result: Run

    @property
    def recorded(self) -> Run:
        """The run itself."""
        return self.result

    @property
    def bars(self) -> Bars:
        """The bars of the run, with those that only warmed the signals up."""
        return self.result.bars

    @property
    def signals(self) -> Signals:
        """What the signal plane said at each decision, and of what that was made."""
        if self.result.signals is None:
            raise told(DataGap("signals must be part of the run, which has none"))
        return self.result.signals

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, commit, seeds, and the hashes of settings, sources and data."""
        return dict(self.result.manifest)

    def save(self, runs: str | Path = "data/runs") -> Path:
        """Write a results folder as the command does, ``<runs>/backtest/<time>-<name>``, and return its path.

        Raises
        ------
        ConfigError
            If the folder cannot be written to.
        """
        try:
            root = writable_folder(str(runs), key="runs")
        except ConfigError as error:
            raise told(error) from cause(error)
        return write_run(
            self.result, root, "backtest", self.name, metrics=self._metrics, ahead=self._outlook
        )

    @property
    def _config_yaml(self) -> str:
        return self.result.config_yaml

    @cached_property
    def _outlook(self) -> Outlook:
        return outlook(self.result, self.curve)

    @cached_property
    def _metrics(self) -> Mapping[str, Any]:
        return compute_metrics(self.result, trades=self._trades, ahead=self._outlook)

    @cached_property
    def _trades(self) -> pd.DataFrame:
        return run_trades(self.result)

    @cached_property
    def _tearsheet(self) -> str:
        return tearsheet(
            self.result,
            metrics=self._metrics,
            trades=self._trades,
            experiment=self.name,
            ahead=self._outlook,
        )

    def _marks(self) -> Panel:
        return run_marks(self.result)


@dataclass(frozen=True, eq=False, repr=False)
class OpenedRun(RunView):
    """A backtest that was read from its results folder.

    The folder keeps no bars and no signals: the benchmark is missing in `plot`, and `vbt` knows marks only where
    something was held, so that its benchmark means nothing.

    Parameters
    ----------
    saved : SavedRun
        What was read.
    """

    saved: SavedRun

    @property
    def recorded(self) -> SavedRun:
        """What was read."""
        return self.saved

    @property
    def bars(self) -> Bars:
        """Refused: a results folder keeps none."""
        raise self._missing("bars")

    @property
    def signals(self) -> Signals:
        """Refused: a results folder keeps none."""
        raise self._missing("signals")

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, commit, seeds, and the hashes of settings, sources and data."""
        return dict(self.saved.manifest)

    def save(self, runs: str | Path = "data/runs") -> Path:
        """Refused: it lies in a results folder already."""
        raise told(DataGap(f"a run that was opened is saved already, in {self.saved.folder}"))

    @property
    def _config_yaml(self) -> str:
        return self.saved.config_yaml

    @cached_property
    def _metrics(self) -> Mapping[str, Any]:
        return self.saved.metrics

    @cached_property
    def _trades(self) -> pd.DataFrame:
        return self.saved.tables["trades"]

    @cached_property
    def _tearsheet(self) -> str:
        page = self.saved.folder / "tearsheet.html"
        if not page.is_file():
            raise told(
                DataGap(f"the results folder must hold tearsheet.html, {page.parent} does not")
            )
        return page.read_text("utf-8")

    def _missing(self, what: str) -> QuantcoreError:
        folder = self.saved.folder
        return told(
            DataGap(f"{what} are not kept in a results folder, {folder}: run the experiment again")
        )
