r"""Proof that no decision changes when the future is cut off: the run row by row, from bars that do not exist yet.

Three proofs, each against the vectorised run that a backtest makes:

1. **Row by row.** The raw execution bars of one decision at a time are resampled and handed to the signal plane with
   the state of the row before. The rows behind it are not there, so nothing can use them. Every stage of every decision
   is compared bit for bit: the bars, the universe, each strategy's forecast, the regime, the combined forecast, the
   weights.
2. **Noise.** What follows some instants is replaced by noise, and the whole run is made again: every decision up to
   there must be the same. This also reaches what a fit or a plain strategy keeps of the bars of an earlier call. What
   it reads from elsewhere, such as a file, stays the same in every run and is not found.
3. **Cold start.** The run begins anew `warm_up` bars before some instants; how far its weights then differ from those
   of the run that began at the beginning is measured and reported. It is not a leak: what is exponentially weighted
   remembers a little for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantcore.backtest.experiment import shown
from quantcore.backtest.notes import idle_notes
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError, DataGap
from quantcore.frames import Bars, resample_bars
from quantcore.signal_plane import Signals, SignalSettings, signals, warm_up
from quantcore.timegrid import check_grids
from quantcore.types import Array, BoolArray, FloatArray

if TYPE_CHECKING:
    from omegaconf import DictConfig

Progress = Callable[[range], Iterable[int]]
ROW_BY_ROW, NOISE = "row by row", "noise"
KEPT = 1000
"""Most differences that are listed of one comparison."""
COMPARED_ROWS = 24
"""Decisions compared after a cold start."""
_NOT_BY_SYMBOL = ("regime", "matrix")


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the comparison found.

    Parameters
    ----------
    decisions : int
        Rows compared.
    checked : int
        Target weights compared, over both proofs.
    differing : int
        Decisions of which at least one number in any stage differed.
    differences : DataFrame
        ``proof ts stage symbol vectorised other``, the earliest first, and of those the earliest stage; at most `KEPT`
        of each comparison: row by row, and each cut.
    cold_starts : DataFrame
        ``ts difference largest_weight``: the largest difference of a weight in the decisions after a cold start, and
        the largest weight there. Empty where the data is shorter than the warm-up.
    warm_up : int
        Bars that a cold start replays.
    """

    decisions: int
    checked: int
    differing: int
    differences: pd.DataFrame
    cold_starts: pd.DataFrame
    warm_up: int


def prove(
    data: MarketData,
    settings: SignalSettings,
    *,
    noise_cuts: int,
    cold_starts: int,
    seed: int,
    progress: Progress = iter,
) -> Proof:
    """Compare every decision of a run with the same decision made without a future.

    Parameters
    ----------
    data : MarketData
        What a backtest would run on.
    settings : SignalSettings
        The signal plane.
    noise_cuts : int
        Instants after which the data is replaced by noise, spread over the data; >= 0.
    cold_starts : int
        Instants before which the run begins anew, >= 0.
    seed : int
        Of the noise.
    progress : callable
        Shows how far the rows are.

    Raises
    ------
    ConfigError
        If `noise_cuts` or `cold_starts` is no whole number from zero on, or the data is too short for a decision.
    DataGap
        If the data holds no whole decision bar.
    """
    for name, number in (("noise_cuts", noise_cuts), ("cold_starts", cold_starts)):
        if not _is_count(number):
            raise ConfigError(f"{name} must be a whole number >= 0, was {number!r}")
    bars = data.decision_bars()
    if bars.n_bars == 0:
        raise DataGap(f"data must hold a whole decision bar of {data.interval}, held none")
    whole = signals(bars, settings)
    idle_notes(whole, bars, settings)
    said = _arrays(bars, whole)
    differing = np.zeros(bars.n_bars, dtype=np.bool_)
    tables = [
        _compare(bars, said, _row_by_row(data, settings, said, progress), ROW_BY_ROW, differing)
    ]
    rng = np.random.default_rng(seed)
    cuts = np.linspace(0, bars.n_bars, noise_cuts + 2)[1:-1].astype(int).tolist()
    for cut in cuts:
        noisy = with_noise(bars, cut, rng)
        before = {
            name: values[:cut] for name, values in _arrays(noisy, signals(noisy, settings)).items()
        }
        tables.append(_compare(bars, said, before, NOISE, differing))
    table = pd.concat(tables).sort_values(["ts", "order"], kind="stable", ignore_index=True)
    needed = warm_up(settings, bars.interval)
    return Proof(
        decisions=bars.n_bars,
        checked=(bars.n_bars + sum(cuts)) * bars.n_symbols,
        differing=int(differing.sum()),
        differences=table.drop(columns="order"),
        cold_starts=_cold_starts(bars, whole, settings, needed, cold_starts),
        warm_up=needed,
    )


def with_noise(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Return the bars with everything from row `cut` on replaced by noise: walks, volumes, funding that never were.

    Settlements before the cut stay, and there are none after it.
    """
    n_rows, n_symbols = bars.n_bars - cut, bars.n_symbols
    fields = {name: values.copy() for name, values in bars.fields.items()}
    known = ~np.isnan(fields["close"])
    start = (
        np.where(known, fields["close"], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1) + 1.0
    )
    walk = start * np.exp(np.cumsum(rng.normal(0.0, 0.02, (n_rows, n_symbols)), axis=0))
    for name, values in fields.items():
        if name == "funding_rate":
            settled: BoolArray = np.asarray(~np.isnan(values[cut:]).all(axis=1))
            values[cut:] = np.where(settled[:, None], rng.normal(0.0, 0.001, walk.shape), np.nan)
        elif name in ("volume", "quote_volume", "trades", "taker_buy_volume", "open_interest"):
            values[cut:] = rng.lognormal(10.0, 1.0, walk.shape)
        else:
            wide = 1.0 + (0.01 if name.endswith("high") else -0.01 if name.endswith("low") else 0.0)
            values[cut:] = walk * wide
    return Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=bars.symbols,
        fields=fields,
        settlements=bars.rows(0, cut).settlements,
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _arrays(bars: Bars, said: Signals) -> dict[str, Array]:
    """Return what every stage says in each row, in the order of the stages."""
    stages: dict[str, Array] = {f"bars.{name}": values for name, values in bars.fields.items()}
    stages["universe"] = said.members.astype(np.float64)
    stages |= {f"strategy.{name}": values for name, values in said.forecasts.items()}
    stages |= {"regime": said.regimes, "matrix": said.counted}
    return stages | {"forecast": said.combined, "weights": said.weight_array}


def _row_by_row(
    data: MarketData, settings: SignalSettings, like: dict[str, Array], progress: Progress
) -> dict[str, Array]:
    """Return what every stage says in each row when its bars are the last that exist."""
    size = check_grids(data.interval, data.bars.interval)
    stamps = data.decision_bars().ts_us
    first = int(np.searchsorted(data.bars.ts_us, stamps[0])) + 1 - size
    rows = {name: np.full(values.shape, np.nan) for name, values in like.items()}
    state = None
    for row in progress(range(len(stamps))):
        raw = data.bars.rows(first + row * size, first + (row + 1) * size)
        one = resample_bars(raw, data.interval)
        said = signals(one, settings, state)
        state = said.state
        for name, values in _arrays(one, said).items():
            rows[name][row] = values[0]
    return rows


def _compare(
    bars: Bars, whole: dict[str, Array], other: dict[str, Array], proof: str, differing: BoolArray
) -> pd.DataFrame:
    """Return where two runs differ in any bit, the earliest first, and mark the rows."""
    found = []
    for order, (stage, values) in enumerate(whole.items()):
        again = other[stage]
        same = _same_bits(values[: len(again)], again)
        differing[: len(again)] |= ~same.all(axis=1)
        for row, column in np.argwhere(~same)[:KEPT]:
            named = str(column) if stage in _NOT_BY_SYMBOL else bars.symbols[column]
            found.append(
                (
                    proof,
                    bars.index[row],
                    order,
                    stage,
                    named,
                    values[row, column],
                    again[row, column],
                )
            )
    columns = ["proof", "ts", "order", "stage", "symbol", "vectorised", "other"]
    table = pd.DataFrame(found, columns=columns)
    return table.sort_values(["ts", "order"], kind="stable").head(KEPT)


def _same_bits(left: FloatArray, right: FloatArray) -> BoolArray:
    missing = np.isnan(left) & np.isnan(right)
    return np.asarray(
        missing
        | (np.ascontiguousarray(left).view(np.int64) == np.ascontiguousarray(right).view(np.int64))
    )


def _cold_starts(
    bars: Bars, whole: Signals, settings: SignalSettings, needed: int, starts: int
) -> pd.DataFrame:
    """Measure how far the weights of runs that begin anew are from those of the run from the beginning."""
    found = []
    last = bars.n_bars - COMPARED_ROWS
    for at in (
        np.linspace(needed, last, starts + 1)[1:].astype(int).tolist() if last > needed else []
    ):
        cold = signals(bars.rows(at - needed, at + COMPARED_ROWS), settings).weight_array[needed:]
        warm = whole.weight_array[at : at + COMPARED_ROWS]
        difference = np.abs(np.nan_to_num(cold) - np.nan_to_num(warm))
        found.append(
            (bars.index[at], float(difference.max()), float(np.nanmax(np.abs(warm), initial=0.0)))
        )
    return pd.DataFrame(found, columns=["ts", "difference", "largest_weight"])


def main(cfg: DictConfig) -> int:
    """Prove an experiment's causality, publish what was found, and return 1 if any decision differed."""
    from quantcore.backtest.experiment import signal_settings
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import build, resolved_yaml, writable_folder

    runs = writable_folder(cfg.runs, key="runs")
    settings = signal_settings(cfg)
    build(cfg.account)
    build(cfg.execution)
    data = build(cfg.data).load(reviewed=settings.universe is not None)
    proof = prove(
        data,
        settings,
        noise_cuts=cfg.noise_cuts,
        cold_starts=cfg.cold_starts,
        seed=cfg.seed,
        progress=shown("decisions"),
    )

    def fill(folder: Path) -> None:
        (folder / "summary.json").write_text(to_json(_summary(proof)), "utf-8")
        (folder / "config.yaml").write_text(resolved_yaml(cfg), "utf-8")
        proof.differences.to_parquet(folder / "differences.parquet", index=False)
        proof.cold_starts.to_parquet(folder / "cold_starts.parquet", index=False)

    folder = publish(runs, "lookahead", cfg.name, fill)
    for line in _told(proof):
        print(line)
    print(folder)
    return int(proof.differing > 0)


def _summary(proof: Proof) -> dict[str, Any]:
    first = proof.differences.iloc[0] if len(proof.differences) else None
    worst = proof.cold_starts["difference"].max() if len(proof.cold_starts) else None
    return {
        "decisions": proof.decisions,
        "checked": proof.checked,
        "differing": proof.differing,
        "first_difference": None
        if first is None
        else {**first.drop("ts").to_dict(), "ts": first["ts"].isoformat()},
        "warm_up": proof.warm_up,
        "cold_start_difference": worst,
    }


def _told(proof: Proof) -> list[str]:
    said = [
        f"{proof.decisions:,} decisions and {proof.checked:,} weights compared bit for bit, "
        f"{proof.differing:,} decisions differ"
    ]
    if len(proof.differences):
        first = proof.differences.iloc[0]
        said.append(
            f"first: {first['stage']} of {first['symbol']} at {first['ts']} ({first['proof']}): "
            f"{first['vectorised']!r} with the future, {first['other']!r} without"
        )
    if len(proof.cold_starts):
        worst = proof.cold_starts["difference"].max()
        said.append(
            f"a cold start after {proof.warm_up:,} bars of warm-up differs by at most {worst:.2e} in a weight"
        )
    elif proof.warm_up >= proof.decisions - COMPARED_ROWS:
        said.append(
            f"a cold start could not be measured: it replays {proof.warm_up:,} bars, the data holds {proof.decisions:,}"
        )
    return said


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("lookahead", main))
