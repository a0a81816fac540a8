"""Listen keys: what opens an account's user data stream, and how long (a pure book-keeping of simulated time)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from live.simulator.wire import Refused

LIFETIME_US = 3_600_000_000
"""A key lives 60 minutes from its last extension."""
_NEVER_US = 2**62
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 64


class ListenKeys:
    """The keys of all accounts; an account has at most one that lives.

    Parameters
    ----------
    seed : int
        The keys follow from it and from the order in which they are asked for.
    age : bool
        Whether they run out by themselves. Not in lock-step: where a bar is an hour long, none would outlive it.
    """

    def __init__(self, seed: int, *, age: bool = True) -> None:
        self._seed = seed
        self._age = age
        self._made = 0
        self._ends_us: dict[str, int] = {}  # by key
        self._owner: dict[str, str] = {}  # account by key
        self._key: dict[str, str] = {}  # key by account

    def handle(
        self, name: str, account: str, params: Mapping[str, str], now_us: int
    ) -> dict[str, Any]:
        """Return what the exchange answers to a request for a listen key.

        Parameters
        ----------
        name : str
            Such as ``"POST /fapi/v1/listenKey"``; only its verb is read.
        account : str
            The API key that asks.
        params : mapping
            A `listenKey` that is given must be the account's own; none need be given.
        now_us : int
            Simulated time.

        Raises
        ------
        Refused
            -1125, if there is no such living key.
        """
        verb, asked = name.split(" ")[0], params.get("listenKey", "")
        if verb == "POST":
            return {"listenKey": self.create(account, now_us)}
        if verb == "PUT":
            return {"listenKey": self.extend(account, now_us, asked)}
        self.delete(account, now_us, asked)
        return {}

    def create(self, account: str, now_us: int) -> str:
        """Return the account's key, made anew if none lives, good for 60 minutes from now."""
        key = self.key_of(account, now_us)
        if key is None:
            key = self._make(account)
            self._key[account], self._owner[key] = key, account
        self._ends_us[key] = now_us + LIFETIME_US if self._age else _NEVER_US
        return key

    def extend(self, account: str, now_us: int, asked: str = "") -> str:
        """Return the account's key, good for 60 minutes from now; refused with -1125 if it has none."""
        key = self._living(account, now_us, asked)
        self._ends_us[key] = now_us + LIFETIME_US if self._age else _NEVER_US
        return key

    def delete(self, account: str, now_us: int, asked: str = "") -> None:
        """Close the account's stream, which falls silent with no event; refused with -1125 if it has none."""
        self._forget(self._living(account, now_us, asked))

    def key_of(self, account: str, now_us: int) -> str | None:
        """Return the account's living key."""
        key = self._key.get(account)
        return key if key is not None and now_us < self._ends_us[key] else None

    def expire(self, now_us: int) -> list[tuple[str, str]]:
        """Return (account, key) of what has run out since the last call, the earliest first, and forget it."""
        over = sorted((end, key) for key, end in self._ends_us.items() if end <= now_us)
        return [(self._forget(key), key) for _, key in over]

    def cut(self, account: str, now_us: int) -> None:
        """Let the account's key, if it has one, run out now, as a fault."""
        key = self.key_of(account, now_us)
        if key is not None:
            self._ends_us[key] = now_us

    def state(self) -> dict[str, Any]:
        """Return all keys as plain values of which JSON can be made."""
        return {
            "made": self._made,
            "ends_us": dict(self._ends_us),
            "owner": dict(self._owner),
            "key": dict(self._key),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        self._made = int(state["made"])
        self._ends_us = {key: int(end_us) for key, end_us in state["ends_us"].items()}
        self._owner, self._key = dict(state["owner"]), dict(state["key"])

    def _living(self, account: str, now_us: int, asked: str) -> str:
        key = self.key_of(account, now_us)
        if key is None or asked not in ("", key):
            raise Refused(-1125, "This listenKey does not exist.")
        return key

    def _make(self, account: str) -> str:
        self._made += 1
        digest = hashlib.sha512(f"{self._seed} {self._made} {account}".encode()).digest()
        number, letters = int.from_bytes(digest, "big"), ""
        for _ in range(_LENGTH):
            number, letter = divmod(number, len(_LETTERS))
            letters += _LETTERS[letter]
        return letters

    def _forget(self, key: str) -> str:
        del self._ends_us[key]
        account = self._owner.pop(key)
        if self._key.get(account) == key:
            del self._key[account]
        return account
