"""What is asked for against what it costs, inside the account step."""

from __future__ import annotations

import numpy as np
import pytest

from quantcore.account_plane import market_arrays
from quantcore.execution.costing import affordable_goal
from quantcore.execution.slippage import SlippageSettings
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account, Journal
from tests.account.random_cases import Case, case_bars, case_plane

BUDGET = SlippageSettings(
    budget_bps=10.0, edge_multiple=0.0, half_spread_bps=0.5, prior_coefficient=1.0, prior_error=0.5,
    prior_noise=0.2, half_life_fills=50.0, liquidity_half_life_hours=24.0,
)  # fmt: skip


@pytest.mark.parametrize(("held", "goal", "left"), [(0, 50, 0), (20, 50, 20), (20, -50, 0)])
def test_before_any_estimate_nothing_opens_also_where_the_kernel_runs_interpreted(
    held: int, goal: int, left: int
) -> None:
    case = Case(slippage=BUDGET, n_bars=3)
    plane, state = case_plane(case), case_plane(case).start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    journal = Journal(
        np.zeros(2, dtype=np.int64), np.zeros((9, at.N_WHOLE), dtype=np.int64),
        np.zeros((9, at.N_NUMBER)), np.zeros((1, 0)),
    )  # fmt: skip
    market = market_arrays(case_bars(case))
    got = affordable_goal(
        account, plane.rules, journal, market, 0, plane.config, 0, held, goal
    )  # fmt: skip
    assert got == left
    assert journal.filled[0] == 1
