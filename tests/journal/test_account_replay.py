"""The real account's states out of the journal again: every bar of a market, its targets, and each state's hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from live.journal import START, Advance, Decision, KeptStep, Step
from live.journal.replay_check import Replayer
from live.journal.verify import verify
from quantcore.account_plane import AccountPlane
from quantcore.errors import JournalError
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.types import Array, FloatArray
from tests.benchmarks.markets import market, plane
from tests.journal.entries import opened

N_BARS = 60
SYMBOLS = 3


def bar_of(plane: AccountPlane, inputs: Mapping[str, Array]) -> Bars:
    fields = {name: row for name, row in inputs.items() if name != "ts_us"}
    return Bars(
        interval=plane.interval, ts_us=inputs["ts_us"], symbols=plane.symbols, fields=fields
    )


def advanced(plane: AccountPlane, state: FoldState, bars: Bars, targets: FloatArray) -> FoldState:
    return plane.advance(state, bars, targets=targets[None, :])[0]


def advance_of(plane: AccountPlane) -> Advance:
    def account(state: FoldState, step: KeptStep) -> FoldState:
        assert step.inputs is not None
        assert step.decision is not None
        assert step.decision.targets is not None
        return advanced(plane, state, bar_of(plane, step.inputs), step.decision.targets)

    return Advance(account=account)


def write(url: str, account: AccountPlane, bars: Bars) -> list[str]:
    rng = np.random.default_rng(3)
    state = account.start()
    digests = [state.digest()]
    with opened(url) as journal:
        journal.commit_step(
            Step(seq=1, ts_us=0, kind=START, inputs={}, account=state, snapshot=True)
        )
        for row in range(bars.n_bars):
            inputs: dict[str, Array] = {"ts_us": bars.ts_us[row : row + 1]}
            inputs |= {name: values[row : row + 1] for name, values in bars.fields.items()}
            targets = rng.normal(0.0, 0.3, SYMBOLS)
            state = advanced(account, state, bar_of(account, inputs), targets)
            digests.append(state.digest())
            journal.commit_step(
                Step(
                    seq=row + 2,
                    ts_us=int(bars.ts_us[row]),
                    kind="close",
                    inputs=inputs,
                    account=state,
                    decision=Decision(targets=targets, inputs={}),
                    snapshot=row % 16 == 0,
                )
            )
    return digests


@pytest.fixture(scope="module")
def bars() -> Bars:
    return market(N_BARS, SYMBOLS, interval="1h")


def test_every_state_of_the_account_comes_out_of_the_journal(url: str, bars: Bars) -> None:
    account = plane(bars)
    digests = write(url, account, bars)
    with opened(url) as journal:
        for seq in (1, 2, 17, 18, 40, N_BARS + 1):
            replayed = journal.replay(advance_of(account), at_seq=seq)
            assert replayed.account.digest() == digests[seq - 1]
        resumed = journal.recover().resume(advance_of(account))
        assert resumed is not None
        assert resumed.account.digest() == digests[-1]
        assert int(resumed.account["counter"][at.NEXT_ORDER_ID]) > 20  # it traded
        checks = verify(journal, lambda session: Replayer(advance=advance_of(account)))
        assert {c.name: (c.examined, c.differences) for c in checks}["replay"] == (N_BARS + 1, ())


def test_another_rule_is_seen_at_the_first_step_that_it_changes(url: str, bars: Bars) -> None:
    write(url, plane(bars), bars)
    config = plane(bars).config.copy()
    config[at.NO_TRADE_BAND] = 0.5
    other = replace(plane(bars), config=config)
    with opened(url) as journal, pytest.raises(JournalError, match="must give its account"):
        journal.replay(advance_of(other), at_seq=10)
