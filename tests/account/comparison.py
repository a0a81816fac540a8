"""One case through the compiled account plane and through the reference account, and what differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from quantcore.account_plane import AccountPlane, Events
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, order_script
from quantcore.types import FillReason, Liquidity, OrderStatus, Rule
from tests.account.random_cases import (
    Case,
    case_bars,
    case_instruments,
    case_plane,
    case_requests,
    case_settings,
)
from tests.account.reference_account import ReferenceAccount


def reference_of(case: Case, bars: Bars, requests: Sequence[OrderRequest]) -> ReferenceAccount:
    account, execution = case_settings(case)
    reference = ReferenceAccount(
        case_instruments(case), interval=case.interval, account=account, execution=execution
    )
    reference.run(bars, requests)
    return reference


def engine_of(
    case: Case, bars: Bars, requests: Sequence[OrderRequest]
) -> tuple[AccountPlane, FoldState, Events]:
    plane = case_plane(case)
    script = order_script(requests, bars, case_instruments(case))
    every = np.full(bars.n_bars, -2)
    state, events = plane.advance(plane.start(), bars, decisions=every, script=script)
    return plane, state, events


def differences(case: Case) -> list[str]:
    """Return a line for each thing in which engine and reference differ, the earliest first in each list."""
    bars = case_bars(case)
    requests = case_requests(case, bars)
    reference = reference_of(case, bars, requests)
    _, state, events = engine_of(case, bars, requests)
    return compared(reference, state, events)


def compared(reference: ReferenceAccount, state: FoldState, events: Events) -> list[str]:
    return [
        *_lists("fill", _engine_fills(events), _reference_fills(reference)),
        *_lists("liquidation", _engine_liquidations(events), _reference_liquidations(reference)),
        *_lists("funding", _engine_funding(events), reference.books.funding),
        *_lists("flow", _engine_flows(events), reference.books.flows),
        *_lists("order", _engine_orders(events), _reference_orders(reference)),
        *_curve(reference, state, events),
    ]


def near(one: object, other: object, scale: float = 1.0) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return abs(one - other) <= 1e-9 * max(abs(one), abs(other), scale)
    return one == other


def _lists(
    what: str, ours: Sequence[tuple[object, ...]], theirs: Sequence[tuple[object, ...]]
) -> Iterator[str]:
    for k in range(max(len(ours), len(theirs))):
        one = ours[k] if k < len(ours) else None
        other = theirs[k] if k < len(theirs) else None
        if one is None or other is None or not all(map(near, one, other)):
            yield f"{what} {k}: engine {one}, reference {other}"
            return


def _curve(reference: ReferenceAccount, state: FoldState, events: Events) -> Iterator[str]:
    books = reference.books
    most = max(1.0, *(abs(w) for w in books.wallet))
    for name, column, theirs in (
        ("wallet", at.CURVE_WALLET, books.wallet),
        ("unrealised", at.CURVE_UNREALISED, books.unrealised),
        (
            "equity",
            at.CURVE_EQUITY,
            [w + u for w, u in zip(books.wallet, books.unrealised, strict=True)],
        ),
    ):
        ours = events.curve[:, column].tolist()
        for k, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if not near(one, other, most):
                yield f"{name} of bar {k}: engine {one!r}, reference {other!r}"
                break
    for s, position in enumerate(reference.positions):
        ours = (int(state["held"][s, at.LOTS]), float(state["position"][s, at.MARGIN]))
        if not (ours[0] == position.lots and near(ours[1], position.margin, most)):
            yield f"symbol {s}: engine {ours}, reference {(position.lots, position.margin)}"


def _engine_fills(events: Events) -> list[tuple[object, ...]]:
    whole, number = events.of(at.EVENT_FILL)
    return [
        (
            int(w[at.TS]), int(w[at.EVENT_SYMBOL]), int(w[at.EVENT_SIDE]), int(w[at.EVENT_LOTS]),
            float(n[at.B]), float(n[at.C]), int(w[at.EVENT_STATE]) == Liquidity.MAKER,
            FillReason(int(w[at.EVENT_REASON])).name,
        )
        for w, n in zip(whole, number, strict=True)
    ]  # fmt: skip


def _reference_fills(reference: ReferenceAccount) -> list[tuple[object, ...]]:
    return [
        (f.ts_us, f.symbol, f.side, f.lots, f.price, f.fee, f.maker, f.reason)
        for f in reference.books.fills
    ]


def _engine_liquidations(events: Events) -> list[tuple[object, ...]]:
    whole, number = events.of(at.EVENT_LIQUIDATION)
    return [
        (
            int(w[at.TS]), int(w[at.EVENT_SYMBOL]),
            float(n[at.A]), float(n[at.B]), float(n[at.C]), float(n[at.D]),
        )
        for w, n in zip(whole, number, strict=True)
    ]  # fmt: skip


def _reference_liquidations(reference: ReferenceAccount) -> list[tuple[object, ...]]:
    return [
        (x.ts_us, x.symbol, x.qty, x.price, x.fee, x.insurance)
        for x in reference.books.liquidations
    ]


def _engine_funding(events: Events) -> list[tuple[object, ...]]:
    whole, number = events.of(at.EVENT_FUNDING)
    return [
        (int(w[at.TS]), int(w[at.EVENT_SYMBOL]), float(n[at.D]))
        for w, n in zip(whole, number, strict=True)
    ]


def _engine_flows(events: Events) -> list[tuple[object, ...]]:
    whole, number = events.of(at.EVENT_FLOW)
    return [(int(w[at.TS]), float(n[at.A])) for w, n in zip(whole, number, strict=True)]


def _engine_orders(events: Events) -> list[tuple[object, ...]]:
    """Return per request its final status, rule, and when; in order of request."""
    new, _ = events.of(at.EVENT_NEW_ORDER)
    status, _ = events.of(at.EVENT_STATUS)
    ends = {int(w[at.EVENT_ORDER]): w for w in status}
    rows = []
    for w in new:
        end = ends.get(int(w[at.EVENT_ORDER]))
        client = int(w[at.EVENT_CLIENT])
        if client < 0:  # the venue's own: a liquidation or settlement, compared as fills
            continue
        if end is None:
            rows.append((client, "NEW", "", -1))
        else:
            rule = int(end[at.EVENT_REASON])
            named = Rule(rule).name if rule >= 0 else ""
            rows.append(
                (client, OrderStatus(int(end[at.EVENT_STATE])).name, named, int(end[at.TS]))
            )
    return [tuple(row) for row in sorted(rows)]


def _reference_orders(reference: ReferenceAccount) -> list[tuple[object, ...]]:
    return [
        (n, o.status.name, "" if o.rule is None else o.rule.name, o.done_us)
        for n, o in sorted(reference.all_orders.items())
    ]
