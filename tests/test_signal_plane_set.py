"""The whole signal plane at once: six strategies, universe, regime, matrix, and a portfolio that estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.data.universe import UniverseSettings
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.exits import NO_EXITS
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements
from quantcore.regime.detector import RegimeSettings
from quantcore.regime.volatility_state import VolatilityStateSettings
from quantcore.signal_plane import Signals, SignalSettings, StrategySet, refit, signals, warm_up
from quantcore.signals.estimates import KellySettings, SharesSettings
from quantcore.signals.generator import PortfolioSettings
from quantcore.signals.strategy_matrix import MatrixSettings
from quantcore.types import FloatArray
from strategies.breakout import BreakoutSettings
from strategies.carry import CarrySettings
from strategies.pairs import PairsSettings
from strategies.plain_momentum import PlainMomentumSettings
from strategies.reversal import ReversalSettings
from strategies.trend import TrendSettings
from strategies.xs_momentum import XsMomentumSettings
from tests.research.market import small_bars

SIX = {
    "trend": TrendSettings(
        fast=2, slow=6, speeds=2, volatility_half_life=10.0, cap=2.0, exits=NO_EXITS
    ),
    "breakout": BreakoutSettings(lookback_days=[3, 5, 10], exits=NO_EXITS),
    "xs_momentum": XsMomentumSettings(
        horizon_days=[3, 7], exposure_half_life_days=10.0, symbols_min=3, exits=NO_EXITS
    ),
    "carry": CarrySettings(
        half_life_days=3.0, stale_hours=48.0, outlier_limit=3.0, cap=2.0, symbols_min=3, exits=NO_EXITS
    ),
    "reversal": ReversalSettings(
        exposure_half_life_days=10.0, memory_half_life_days=30.0, round_trip_cost=0.0, cap=2.0, exits=NO_EXITS
    ),
    "pairs": PairsSettings(
        window_days=60, review="week", lags=0, significance=0.2, half_life_max_days=30.0, hedge_min=0.1,
        hedge_max=10.0, relations_max=4, entry=1.0, exit=0.3, stop=6.0, exits=NO_EXITS,
    ),
}  # fmt: skip
CALM = {"trend": 0.1, "breakout": 0.1, "xs_momentum": 0.2, "carry": 0.2, "reversal": 0.2, "pairs": 0.2}  # fmt: skip
WILD = {"trend": 0.3, "breakout": 0.3, "xs_momentum": 0.1, "carry": 0.1, "reversal": 0.1, "pairs": 0.1}  # fmt: skip
GIVEN = MatrixSettings(
    method="given",
    rows={"calm": CALM, "wild": WILD},
    size_half_life_days=20.0,
    size=0.5,
    scale_max=2.0,
    diversification=1.5,
    review="week",
    window_days=40,
    prior_days=40.0,
)
PLAIN_PORTFOLIO = PortfolioSettings(
    volatility_half_life=10.0,
    covariance_half_life=20.0,
    annual_volatility_target=0.3,
    full_conviction=0.3,
    weight_max=0.4,
    gross_max=1.5,
)
SET = SignalSettings(
    strategy=StrategySet(members=SIX, exits=NO_EXITS),
    portfolio=PLAIN_PORTFOLIO,
    universe=UniverseSettings(
        symbols_min=3, symbols_max=4, review="month", window_days=20, listed_days_min=15, memory_reviews=2
    ),
    regime=RegimeSettings(
        detector=VolatilityStateSettings(states=2, fit_days=60, half_life=8.0, quantiles=(0.6,)),
        review="month",
    ),
    matrix=GIVEN,
)  # fmt: skip
ESTIMATING = replace(
    SET,
    matrix=replace(GIVEN, method="estimated", rows=None),
    portfolio=replace(
        PLAIN_PORTFOLIO,
        smoothing_half_life=3.0,
        shares=SharesSettings(method="risk_parity", review="week", window_days=30, days_min=15),
        kelly=KellySettings(fraction=0.5, review="week", window_days=60),
    ),
)
BOTH = [pytest.param(SET, id="given"), pytest.param(ESTIMATING, id="estimating")]
BARS = small_bars(days=200, n_symbols=5, interval="12h", seed=11)
N = BARS.n_bars


def saved(state: FoldState) -> FoldState:
    return FoldState.from_bytes(state.to_bytes())


def arrays(said: Signals) -> dict[str, FloatArray]:
    return {
        **said.forecasts,
        "combined": said.combined,
        "counted": said.counted,
        "regimes": said.regimes,
        "members": said.members.astype(np.float64),
        "weights": said.weight_array,
    }


def in_parts(
    chosen: SignalSettings, cuts: Sequence[int], *, refitted: bool = False
) -> tuple[dict[str, FloatArray], FoldState]:
    """Run in parts, through saved bytes."""
    state: FoldState | None = None
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, N], strict=True):
        said = signals(BARS.rows(start, stop), chosen, state)
        state = saved(said.state)
        if refitted:
            state = saved(refit(state, chosen))
        parts.append(arrays(said))
    assert state is not None
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, state


def assert_same(found: dict[str, FloatArray], wanted: dict[str, FloatArray]) -> None:
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def with_columns(bars: Bars, order: list[int]) -> Bars:
    """The bars with their symbols' values and settlements exchanged."""
    places = np.argsort(order)
    held = bars.settlements
    return replace(
        bars,
        fields={name: values[:, order] for name, values in bars.fields.items()},
        settlements=Settlements(
            time_us=held.time_us,
            symbol=places[held.symbol],
            rate=held.rate,
            mark_price=held.mark_price,
        ),
    )


@pytest.mark.parametrize("chosen", BOTH)
def test_every_stage_has_something_to_say_on_these_bars(chosen: SignalSettings) -> None:
    said = signals(BARS, chosen)
    for name, values in said.forecasts.items():
        assert (np.abs(np.nan_to_num(values)) > 0.0).any(), name
    known = ~np.isnan(said.regimes[:, 0])
    assert not known[: 2 * 60].any()
    assert known[2 * 121 :].all()
    assert said.regimes[known].max(axis=0) == pytest.approx([1.0, 1.0], abs=0.05)
    assert set(said.members.sum(axis=1)) == {0, 4}
    assert len(np.unique(said.members, axis=0)) > 2
    assert (np.abs(np.nan_to_num(said.weight_array)) > 0.0).any()


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, N), min_size=1, max_size=4).map(sorted))
def test_every_stage_in_parts_equals_the_whole(chosen: SignalSettings, cuts: list[int]) -> None:
    whole = signals(BARS, chosen)
    found, end = in_parts(chosen, cuts)
    assert_same(found, arrays(whole))
    assert end.digest() == whole.state.digest()


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=8)
@given(days=st.lists(st.integers(1, 199), min_size=1, max_size=4, unique=True).map(sorted))
def test_refitting_between_two_calls_changes_nothing(
    chosen: SignalSettings, days: list[int]
) -> None:
    # Weeks end at days 7, 14, ... of 2024, so that many a cut lies right after an instant at which fits are due.
    cuts = sorted({2 * min(day - day % 7 + 7, 196) for day in days} | {2 * days[0]})
    found, end = in_parts(chosen, cuts, refitted=True)
    whole = signals(BARS, chosen)
    assert_same(found, arrays(whole))
    assert end.digest() == refit(whole.state, chosen).digest()


def test_a_refit_does_what_is_due_and_then_nothing_more() -> None:
    # The 121st day of 2024 ends at the first instant of May.
    state = signals(BARS.rows(0, 2 * 121), ESTIMATING).state
    once = refit(state, ESTIMATING)
    assert once.digest() != state.digest()
    assert refit(once, ESTIMATING).digest() == once.digest()
    for stage in ("universe", "regime", "matrix", "portfolio"):
        assert f"{stage}/due" in once
    assert state["regime/due"][0] == state["universe/due"][0] == 1
    assert once["regime/due"][0] == once["universe/due"][0] == 0


@pytest.mark.parametrize("chosen", BOTH)
def test_one_row_at_a_time_equals_all_rows_at_once(chosen: SignalSettings) -> None:
    start = 2 * 115
    whole = arrays(signals(BARS, chosen))
    state = signals(BARS.rows(0, start), chosen).state
    for t in range(start, start + 24):
        said = signals(BARS.rows(t, t + 1), chosen, state)
        state = said.state
        assert_same(arrays(said), {name: values[t : t + 1] for name, values in whole.items()})


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=5)
@given(cut=st.integers(2 * 60, N - 1))
def test_cutting_the_future_changes_no_stage(chosen: SignalSettings, cut: int) -> None:
    whole = arrays(signals(BARS, chosen))
    before = arrays(signals(BARS.rows(0, cut), chosen))
    assert_same(before, {name: values[:cut] for name, values in whole.items()})


@settings(max_examples=5)
@given(order=st.permutations(range(5)))
def test_permuting_symbols_permutes_weights(order: list[int]) -> None:
    said, permuted = signals(BARS, SET), signals(with_columns(BARS, order), SET)
    np.testing.assert_array_equal(permuted.members, said.members[:, order])
    np.testing.assert_allclose(permuted.regimes, said.regimes, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(permuted.counted, said.counted, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(
        permuted.weight_array, said.weight_array[:, order], rtol=1e-7, atol=1e-10
    )


@pytest.mark.parametrize("chosen", BOTH)
def test_symbols_outside_the_universe_have_no_view_and_no_weight(chosen: SignalSettings) -> None:
    said = signals(BARS, chosen)
    outside = ~said.members
    assert outside.any(axis=0).all()
    for values in (*said.forecasts.values(), said.combined):
        assert np.isnan(values[outside]).all()
    priced = ~np.isnan(BARS.array("close"))
    assert (said.weight_array[outside & priced] == 0.0).all()
    np.testing.assert_array_equal(np.isnan(said.weight_array), ~priced)


def test_signals_since_a_row_are_its_rows() -> None:
    said = signals(BARS, SET)
    later = said.since(300)
    assert later.bars.fingerprint() == BARS.rows(300, N).fingerprint()
    assert later.state is said.state
    assert_same(arrays(later), {name: values[300:] for name, values in arrays(said).items()})
    assert later.weights.index.equals(BARS.index[300:])
    assert len(said.since(N).weights) == 0


def test_rows_wanted_later_are_made_whole_where_strategies_are_a_set() -> None:
    mixed = replace(
        SET,
        strategy=StrategySet(
            members={"trend": SIX["trend"], "plain": PlainMomentumSettings(lookback=6)},
            exits=NO_EXITS,
        ),
        matrix=replace(GIVEN, method="equal", rows=None),
    )
    short = BARS.rows(0, 80)
    whole, later = signals(short, mixed), signals(short, mixed, first=60)
    assert_same(arrays(later), arrays(whole))


def test_a_state_of_other_strategies_is_refused() -> None:
    state = signals(BARS.rows(0, 40), SET).state
    fewer = replace(
        SET,
        strategy=StrategySet(
            members={name: SIX[name] for name in ("trend", "carry")}, exits=NO_EXITS
        ),
        matrix=replace(GIVEN, method="equal", rows=None),
    )
    said = r"state must be of the strategies \['carry', 'trend'\], was of \['breakout', 'carry', "
    with pytest.raises(SchemaMismatch, match=said):
        signals(BARS.rows(40, 50), fewer, state)
    single = replace(SET, strategy=SIX["trend"], matrix=None)
    with pytest.raises(SchemaMismatch, match=r"state must be of the strategies \['trend'\]"):
        signals(BARS.rows(40, 50), single, state)


@pytest.mark.parametrize("stage", ["universe", "regime"])
def test_a_state_with_or_without_a_stage_is_refused_where_settings_say_otherwise(
    stage: str,
) -> None:
    equal = replace(SET, matrix=replace(GIVEN, method="equal", rows=None))
    without = replace(equal, **{stage: None})  # type: ignore[arg-type] # one field at a time
    there, absent = (signals(BARS.rows(0, 40), chosen).state for chosen in (equal, without))
    with pytest.raises(SchemaMismatch, match=f"state must not hold the stage {stage}, held"):
        signals(BARS.rows(40, 50), without, there)
    with pytest.raises(SchemaMismatch, match=f"state must hold the stage {stage}, held"):
        signals(BARS.rows(40, 50), equal, absent)


def test_a_state_without_a_matrix_is_refused_by_a_set_of_the_same_name() -> None:
    single = replace(SET, strategy=SIX["trend"], matrix=None)
    alone = replace(
        SET,
        strategy=StrategySet(members={"trend": SIX["trend"]}, exits=NO_EXITS),
        matrix=replace(GIVEN, method="equal", rows=None),
    )
    for first, then in ((single, alone), (alone, single)):
        state = signals(BARS.rows(0, 40), first).state
        with pytest.raises(SchemaMismatch, match=r"state must (not )?hold the stage matrix, held"):
            signals(BARS.rows(40, 50), then, state)


def test_a_set_needs_a_member_a_matrix_and_rows_that_fit() -> None:
    with pytest.raises(ConfigError, match="members must name at least one strategy, were none"):
        StrategySet(members={}, exits=NO_EXITS)
    with pytest.raises(ConfigError, match="matrix must be set where strategy is a set, was null"):
        replace(SET, matrix=None)
    with pytest.raises(ConfigError, match="must have one row for each of 1 regimes"):
        replace(SET, regime=None)
    fewer = StrategySet(members={"trend": SIX["trend"]}, exits=NO_EXITS)
    with pytest.raises(ConfigError, match=r"matrix row calm must name the strategies \['trend'\]"):
        replace(SET, strategy=fewer)


def test_data_with_fewer_symbols_than_the_universe_asks_for_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"universe\.symbols_min asks for 3 symbols, the data hold"
    ):
        signals(BARS.select(["S00", "S01"]), SET)


def test_warm_up_of_the_whole_covers_every_stage() -> None:
    assert warm_up(SET, "12h") >= 2 * (60 + 32)
    longer = replace(ESTIMATING, matrix=replace(GIVEN, method="estimated", rows=None, window_days=900))  # fmt: skip
    assert warm_up(longer, "12h") >= 2 * 900
