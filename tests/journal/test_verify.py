"""A whole journal passes every check, and each thing that cannot be is explained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from live.journal import START, Intent, Journal, Step
from live.journal.findings import HOLDS, Check
from live.journal.recovery import Advance
from live.journal.replay_check import Replayer
from live.journal.verify import verify
from quantcore.fold import FoldState
from quantcore.types import OrderStatus, Side
from tests.journal.entries import (
    ADVANCE,
    HOUR_US,
    Loop,
    account,
    balance,
    cancel,
    change,
    fill,
    income,
    opened,
    order,
    session,
    signal,
    whole_run,
)

STEPS = 8
WALLETS = {3: 999.7499995, 5: 999.6999995, 6: 1004.349999}
"""After the steps that hear of a new one."""


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    with opened(url) as journal:
        whole_run(journal)
        yield journal


def differences(checks: Sequence[Check]) -> dict[str, tuple[str, ...]]:
    return {check.name: check.differences for check in checks if check.differences}


def replayer(**changed: object) -> Callable[[object], Replayer]:
    given = {
        "advance": ADVANCE,
        "wallet": lambda state: WALLETS.get(int(state["steps"][0]) + 1, 1000.0),
        "unprotected": lambda state, step: (),
    }
    return lambda session: Replayer(**given | changed)  # type: ignore[arg-type]  # the tests' own values


def tampered(journal: Journal, statement: str) -> dict[str, tuple[str, ...]]:
    with journal.transaction() as connection:
        if connection.dialect.name == "postgresql":
            statement = re.sub(r"x'(\w+)'", r"'\\x\1'::bytea", statement)
        connection.exec_driver_sql(statement)
    return differences(verify(journal, replayer()))


def test_a_whole_journal_passes_every_check(journal: Journal) -> None:
    checks = verify(journal, replayer())
    assert differences(checks) == {}
    assert [check.skipped for check in checks if check.skipped] == []
    examined = {check.name: check.examined for check in checks}
    assert examined.pop("database") > 40
    assert examined == {
        "steps": STEPS,
        "client ids": 4,
        "answers": 5,
        "snapshots": 6,
        "fills": 3,
        "orders": 3,
        "wallet": 5,
        "funding": 1,
        "replay": STEPS,
        "own wallet": 4,
        "protection": STEPS,
    }


def test_without_a_replayer_it_says_what_it_did_not_check(journal: Journal) -> None:
    checks = verify(journal)
    left_out = {check.name for check in checks if check.skipped}
    assert left_out == {"replay", "own wallet", "protection"}
    assert {check.name for check in checks} == set(HOLDS)
    assert all("journal.replayer names none" in check.outcome for check in checks if check.skipped)
    advance_only = verify(journal, lambda session: Replayer(advance=ADVANCE))
    assert {c.name: c.outcome for c in advance_only if c.skipped} == dict.fromkeys(
        ("own wallet", "protection"), "not checked: the replayer does not tell"
    )


@pytest.mark.parametrize(
    ("statement", "check", "message"),
    [
        (
            "INSERT INTO steps (seq, session_id, ts_us, kind, last_event, inputs, account_sha, signal_sha)"
            " SELECT 20, session_id, ts_us, kind, last_event, inputs, account_sha, signal_sha"
            " FROM steps WHERE seq = 8",
            "steps",
            "step 9 is missing: 20 follows 8",
        ),
        (
            "UPDATE steps SET ts_us = 1 WHERE seq = 8",
            "steps",
            "step 8 goes back in ts_us, from 25200000000 to 1",
        ),
        ("UPDATE steps SET kind = 'close' WHERE seq = 1", "steps", "1 of kind start must"),
        (
            "UPDATE steps SET last_event = 99 WHERE seq = 8",
            "steps",
            "knows event 99, 14 is the last",
        ),
        ("UPDATE intents SET order_number = 1", "client ids", "order number 1 is sent 3 times"),
        (
            "UPDATE intents SET client_id = 'me-1' WHERE intent_id = 1",
            "client ids",
            "intent 1 is of me-1, its request of qc-1",
        ),
        (
            "UPDATE answers SET sent_after_us = -1 WHERE answer_id = 1",
            "answers",
            "answer 1 to qc-1 took less than no time",
        ),
        (
            "UPDATE snapshots SET state = (SELECT state FROM snapshots WHERE plane='account' AND seq=4)"
            " WHERE plane = 'account' AND seq = 8",
            "snapshots",
            "the account snapshot of step 8 has another hash than the step",
        ),
        (
            "UPDATE snapshots SET state = x'00' WHERE plane = 'signal' AND seq = 4",
            "snapshots",
            "the signal snapshot of step 4 is not whole: a saved state must start with QCSTATE1",
        ),
        ("UPDATE fills SET trade_id = 7", "fills", "fill BTCUSDT 7 stands 2 times"),
        (
            "UPDATE fills SET client_id = 'qc-9' WHERE trade_id = 7",
            "fills",
            "fill BTCUSDT 7 is of qc-9, which no intent sent",
        ),
        (
            "UPDATE fills SET side = 'sell' WHERE trade_id = 7",
            "fills",
            "fill BTCUSDT 7 must be a BUY of BTCUSDT as its order, is not",
        ),
        (
            "UPDATE fills SET fee_asset = 'BNB' WHERE trade_id = 7",
            "fills",
            "fill BTCUSDT 7 must have its fee in USDT, was in BNB",
        ),
        (
            "UPDATE fills SET qty = '0.02' WHERE trade_id = 7",
            "orders",
            "order qc-1 filled 0.02 of 0.010",
        ),
        (
            "UPDATE answers SET outcome = 'refused' WHERE answer_id = 1",
            "orders",
            "order qc-1 was refused and yet lived",
        ),
        (
            "UPDATE fills SET client_id = 'other' WHERE trade_id = 8",
            "orders",
            "order qc-3 was CANCELED with 0.004 filled, the fills make 0",
        ),
        (
            "UPDATE events SET time_us = time_us + 1 WHERE event_id IN"
            " (SELECT event_id FROM fills WHERE trade_id = 7)",
            "orders",
            "order qc-1 was FILLED and then filled by trade 7",
        ),
        (
            "UPDATE balances SET wallet = '999.69999948' WHERE kind = 'FUNDING_FEE'",
            "wallet",
            "the wallet at 14400000000 us was told as 999.69999948, what moved makes 999.69999950",
        ),
        (
            "UPDATE balances SET change = '-0.06', wallet = '999.6899995' WHERE kind = 'FUNDING_FEE'",
            "funding",
            "the list of incomes makes -0.05 USDT of funding, the stream -0.06",
        ),
        (
            "UPDATE steps SET account_sha = 'abc' WHERE seq = 3",
            "replay",
            "step 3 must give its account state again, abc… was committed and ",
        ),
        (
            "UPDATE steps SET signal_sha = 'abc' WHERE seq = 6",
            "replay",
            "step 6 must give its signal",
        ),
        (
            "UPDATE decisions SET targets = x'0000000000000000000000000000f87f' WHERE seq = 2",
            "replay",
            "step 2 must give its targets again",
        ),
    ],
)
def test_what_cannot_be_is_explained(
    journal: Journal, statement: str, check: str, message: str
) -> None:
    found = tampered(journal, statement)
    assert check in found, found
    assert message in found[check][0]


def test_the_own_wallet_may_differ_by_a_hundred_millionth_per_event(journal: Journal) -> None:
    def off(by: float) -> dict[str, tuple[str, ...]]:
        wallet = replayer()(None).wallet
        assert wallet is not None
        return differences(verify(journal, replayer(wallet=lambda state: wallet(state) + by)))

    assert off(0.9e-8) == {}
    assert off(1.5e-8) == {
        "own wallet": ("step 1 has a wallet of 1000.000000015 USDT, the exchange said 1000",)
    }


def test_a_position_without_a_stop_is_named(journal: Journal) -> None:
    def unprotected(state: FoldState, step: object) -> tuple[str, ...]:
        return ("ETHUSDT",) if state["steps"][0] == 3 else ()

    found = differences(verify(journal, replayer(unprotected=unprotected)))
    assert found == {"protection": ("step 4 leaves ETHUSDT without a protective stop",)}


def test_a_fold_that_refuses_its_input_is_a_difference(journal: Journal) -> None:
    def refusing(state: FoldState, step: object) -> FoldState:
        return state.expect("account", 2)

    found = differences(verify(journal, replayer(advance=Advance(account=refusing))))
    assert found == {
        "replay": ("state must be of kind 'account' version 2, was 'account' version 1",)
    }


def begin_again(journal: Journal, account_state: FoldState, signal_state: FoldState | None) -> Loop:
    journal.end("restarted", now_us=9)
    journal.begin(session(), now_us=10)
    loop = Loop(journal)
    loop.account = account_state
    journal.commit_step(
        Step(
            seq=9, ts_us=9 * HOUR_US, kind=START, inputs={}, account=account_state, signal=signal_state,
            snapshot=True,
        )
    )  # fmt: skip
    return loop


def test_a_later_session_goes_on_from_the_states_that_were_left(journal: Journal) -> None:
    left = journal.replay(ADVANCE)
    assert left.signal is not None
    loop = begin_again(journal, left.account, left.signal)
    loop.signal = left.signal
    for _ in range(3):
        loop.step()
    checks = verify(journal, replayer(wallet=None))
    assert differences(checks) == {}
    assert {c.name: c.examined for c in checks}["replay"] == 12


@pytest.mark.parametrize("plane", ["account", "signal"])
def test_a_later_session_that_begins_with_other_states_is_a_difference(
    plane: str, journal: Journal
) -> None:
    left = journal.replay(ADVANCE)
    states = {"account": left.account, "signal": left.signal}
    states[plane] = account(500.0, 7) if plane == "account" else signal(500.0)
    assert states["account"] is not None
    begin_again(journal, states["account"], states["signal"])
    (found,) = differences(verify(journal, replayer(wallet=None)))["replay"]
    assert found.startswith(f"step 9 must begin with the {plane} state that was left")


@pytest.mark.parametrize(
    ("told", "check", "message"),
    [
        (
            [fill(20, client_id="qc-77")],
            "fills",
            "fill BTCUSDT 20 is of qc-77, which no intent sent",
        ),
        (
            [change(OrderStatus.NEW, time_us=9 * HOUR_US, filled="0.01")],
            "orders",
            "order qc-1 was FILLED and then NEW",
        ),
        (
            [
                change(time_us=4 * HOUR_US, filled="0.02"),
                change(time_us=5 * HOUR_US, filled="0.01"),
            ],
            "orders",
            "order qc-1 had filled 0.02, later 0.01",
        ),
        (
            [balance("1", time_us=9 * HOUR_US)],
            "wallet",
            "was told as 1, what moved makes 1004.34999900",
        ),
        ([income("11", amount="-1")], "funding", "the list of incomes makes -1.05 USDT of funding"),
        (
            [fill(21, side=Side.SELL)],
            "fills",
            "fill BTCUSDT 21 must be a BUY of BTCUSDT as its order",
        ),
    ],
)
def test_what_the_exchange_cannot_have_said_is_explained(
    journal: Journal, told: list[object], check: str, message: str
) -> None:
    journal.hear(told, heard_us=9)  # type: ignore[arg-type]  # events of several kinds
    found = differences(verify(journal, replayer()))
    assert message in found[check][0]


def test_funding_of_the_time_in_which_nobody_listened_is_told_by_the_list_alone(
    journal: Journal,
) -> None:
    journal.hear([income("11", amount="-1", time_us=12 * HOUR_US)], heard_us=9)
    assert "funding" not in differences(verify(journal, replayer()))


def test_an_id_of_another_and_a_cancel_of_nothing_are_explained(journal: Journal) -> None:

    loop = Loop(journal)
    state = journal.replay(ADVANCE)
    loop.account = state.account
    assert state.signal is not None
    loop.signal = state.signal

    loop.step(
        [cancel(40), Intent(order_number=41, request=replace(order(41), client_id="other-1"))]
    )
    found = differences(verify(journal, replayer(wallet=None)))
    assert found == {
        "client ids": (
            "intent 5 cancels qc-40, which was never sent",
            "client id other-1 must begin with qc-",
        )
    }
