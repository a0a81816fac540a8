"""Listen keys live 60 minutes, one for an account, and follow from the seed."""

from __future__ import annotations

import json

import pytest

from live.simulator.listen_keys import LIFETIME_US, ListenKeys
from live.simulator.wire import Refused

NOW_US = 1_700_000_000_000_000
PATH = "/fapi/v1/listenKey"
MINUTE_US = 60_000_000


@pytest.fixture
def keys() -> ListenKeys:
    return ListenKeys(seed=7)


def test_post_returns_the_existing_key_and_extends_it(keys: ListenKeys) -> None:
    first = keys.handle(f"POST {PATH}", "alice", {}, NOW_US)
    again = keys.handle(f"POST {PATH}", "alice", {}, NOW_US + 59 * MINUTE_US)
    assert again == first
    assert len(first["listenKey"]) == 64
    assert first["listenKey"].isalnum()
    assert keys.key_of("alice", NOW_US + 118 * MINUTE_US) == first["listenKey"]
    assert keys.key_of("alice", NOW_US + 59 * MINUTE_US + LIFETIME_US) is None


def test_put_extends_the_accounts_own_key_named_or_not(keys: ListenKeys) -> None:
    key = keys.create("alice", NOW_US)
    assert keys.handle(f"PUT {PATH}", "alice", {}, NOW_US + 50 * MINUTE_US) == {"listenKey": key}
    later = NOW_US + 100 * MINUTE_US
    assert keys.handle(f"PUT {PATH}", "alice", {"listenKey": key}, later) == {"listenKey": key}
    assert keys.key_of("alice", NOW_US + 159 * MINUTE_US) == key


@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
def test_a_key_that_does_not_live_is_refused(keys: ListenKeys, verb: str) -> None:
    for prepare in (
        lambda: None,
        lambda: keys.create("bob", NOW_US),
        lambda: keys.create("alice", NOW_US - LIFETIME_US),
    ):
        prepare()
        with pytest.raises(Refused) as refused:
            keys.handle(f"{verb} {PATH}", "alice", {}, NOW_US)
        assert refused.value.body == {"code": -1125, "msg": "This listenKey does not exist."}


def test_another_accounts_key_is_refused(keys: ListenKeys) -> None:
    keys.create("alice", NOW_US)
    other = keys.create("bob", NOW_US)
    with pytest.raises(Refused, match="-1125"):
        keys.extend("alice", NOW_US, other)


def test_delete_ends_the_key_without_an_expiry(keys: ListenKeys) -> None:
    key = keys.create("alice", NOW_US)
    assert keys.handle(f"DELETE {PATH}", "alice", {}, NOW_US) == {}
    assert keys.key_of("alice", NOW_US) is None
    assert keys.expire(NOW_US + 2 * LIFETIME_US) == []
    assert keys.create("alice", NOW_US) != key


def test_keys_run_out_once_and_in_order(keys: ListenKeys) -> None:
    late = keys.create("alice", NOW_US + MINUTE_US)
    early = keys.create("bob", NOW_US)
    assert keys.expire(NOW_US + LIFETIME_US - 1) == []
    assert keys.expire(NOW_US + LIFETIME_US + MINUTE_US) == [("bob", early), ("alice", late)]
    assert keys.expire(NOW_US + LIFETIME_US + MINUTE_US) == []
    assert keys.create("alice", NOW_US + LIFETIME_US + MINUTE_US) != late


def test_a_key_that_ran_out_unnoticed_still_expires_after_a_new_one_is_made(
    keys: ListenKeys,
) -> None:
    old = keys.create("alice", NOW_US)
    new = keys.create("alice", NOW_US + LIFETIME_US)
    assert new != old
    assert keys.expire(NOW_US + LIFETIME_US) == [("alice", old)]
    assert keys.key_of("alice", NOW_US + LIFETIME_US) == new


def test_a_fault_cuts_a_key_off(keys: ListenKeys) -> None:
    key = keys.create("alice", NOW_US)
    keys.cut("alice", NOW_US + 5)
    keys.cut("nobody", NOW_US + 5)
    assert keys.key_of("alice", NOW_US + 5) is None
    assert keys.expire(NOW_US + 5) == [("alice", key)]


def test_the_same_seed_gives_the_same_keys() -> None:
    def made(seed: int) -> list[str]:
        keys = ListenKeys(seed)
        return [keys.create(account, NOW_US) for account in ("alice", "bob")]

    assert made(1) == made(1)
    assert len({*made(1), *made(2)}) == 4


def test_in_lock_step_a_key_runs_out_by_a_fault_alone() -> None:
    keys = ListenKeys(7, age=False)
    key = keys.create("alice", NOW_US)
    assert keys.key_of("alice", NOW_US + 1000 * LIFETIME_US) == key
    assert keys.expire(NOW_US + 1000 * LIFETIME_US) == []
    keys.cut("alice", NOW_US + 5)
    assert keys.expire(NOW_US + 5) == [("alice", key)]


def test_a_restored_state_has_the_keys_and_goes_on_making_the_same() -> None:
    first, second = ListenKeys(7), ListenKeys(7)
    old = first.create("alice", NOW_US)
    first.create("alice", NOW_US + LIFETIME_US)
    first.delete("alice", NOW_US + LIFETIME_US)
    key = first.create("bob", NOW_US + 5)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.key_of("bob", NOW_US + 6) == key
    assert second.create("alice", NOW_US + 6) == first.create("alice", NOW_US + 6)
    over = NOW_US + LIFETIME_US + 5
    assert second.expire(over) == first.expire(over) == [("alice", old), ("bob", key)]
