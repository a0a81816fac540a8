"""Commands from a chat: who may, what is asked twice, what is too old; each is kept before it is carried out."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from live.alerts.inbox import Command
from live.alerts.queue import Queue
from live.alerts.settings import CommandSettings
from live.alerts.telegram import Telegram, Unreachable
from live.alerts.wording import one_line
from live.kill_switch import Level
from quantcore.errors import JournalError

log = logging.getLogger(__name__)

HELP: Final = """/status – how it stands
/positions – what is held
/pause – open nothing new; stops stay
/flatten – close everything (asks twice)
/resume – go on (asks twice)
/ack – acknowledge all alerts, /ack 12 one of them"""
_LEVELS: Final = {"pause": Level.FREEZE, "flatten": Level.FLATTEN, "resume": Level.NONE}
_ASKED_TWICE: Final = ("flatten", "resume")
_TRIES: Final = 3
_REST_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_PAUSE_S: Final = 0.2
_FORGOTTEN_US: Final = 86_400_000_000
_STRANGERS_MAX: Final = 1_000


@dataclass(kw_only=True)
class _Pending:
    """A dangerous command that waits for its confirmation."""

    name: str
    code: str
    asker: int
    expires_us: int
    tries: int = 0


@dataclass(frozen=True, kw_only=True)
class Deeds:
    """What is done for a command, each in a thread of its own choice; all return what is answered."""

    status: Callable[[], Awaitable[str]]
    positions: Callable[[], Awaitable[str]]
    warning: Callable[[Level], Awaitable[str]]
    pull: Callable[[Level, str], Awaitable[str]]


class Commander:
    """Takes commands one by one. Of one thread.

    Parameters
    ----------
    queue : Queue
        Where each is kept.
    deeds : Deeds
        What is done.
    settings : CommandSettings
        Who may, and how long.
    now_us : callable
        This machine's time.
    """

    def __init__(
        self, queue: Queue, deeds: Deeds, settings: CommandSettings, now_us: Callable[[], int]
    ) -> None:
        self._queue = queue
        self._deeds = deeds
        self._settings = settings
        self._now_us = now_us
        self._pending: dict[int, _Pending] = {}
        self._strangers: set[int] = set()

    async def take(self, update: Mapping[str, Any]) -> tuple[int, str] | None:
        """Carry out what an update asks for, and return the chat and what to answer; None of what is ignored."""
        found = read(update)
        if found is None:
            return None
        command, asker = found
        if command.chat_id not in self._settings.chats:
            self._ignore(command.chat_id)
            return None
        now_us = self._now_us()
        if not command.text.startswith("/") or not self._queue.inbox.take(command, now_us=now_us):
            return None
        if now_us - command.sent_us > self._settings.old_s * 1e6:
            minutes = (now_us - command.sent_us) / 60e6
            answer = f"NOT DONE: {command.text} came {minutes:.0f} min late. Send it again if you still want it."
        else:
            try:
                answer = await self._carry_out(command, asker, now_us)
            except JournalError as error:
                answer = f"NOT DONE: {error}"
        self._queue.inbox.carried_out(command.update_id, one_line(answer))
        return command.chat_id, answer

    def interrupted(self) -> list[tuple[int, str]]:
        """Return what to answer, by chat, to commands in whose midst an earlier process has ended."""
        found = []
        for command in self._queue.inbox.interrupted():
            answer = f"{command.text} may not have been carried out, as I was restarted: look at /status."
            self._queue.inbox.carried_out(command.update_id, "interrupted")
            found.append((command.chat_id, answer))
        return found

    async def _carry_out(self, command: Command, asker: int, now_us: int) -> str:
        word, _, rest = command.text.partition(" ")
        name = word[1:].partition("@")[0].lower()
        if name == "status":
            return f"{await self._deeds.status()}\n{self._open()}"
        if name == "positions":
            return await self._deeds.positions()
        if name == "ack":
            return self._acknowledge(rest.strip(), command, now_us)
        if name == "confirm":
            return await self._confirm(rest.strip(), command, asker, now_us)
        if name in _ASKED_TWICE:
            return await self._ask_again(name, command, asker, now_us)
        if name in _LEVELS:
            return await self._pull(name, command)
        return HELP

    async def _ask_again(self, name: str, command: Command, asker: int, now_us: int) -> str:
        code = f"{secrets.randbelow(10_000):04d}"
        try:
            warning = await self._deeds.warning(_LEVELS[name])
        except JournalError:  # what it means is not known now, and it can be asked for all the same
            warning = f"{name.upper()} is asked for, and the journal cannot be read now."
        self._pending[command.chat_id] = _Pending(
            name=name,
            code=code,
            asker=asker,
            expires_us=now_us + int(self._settings.confirm_s * 1e6),
        )
        return (
            f"{warning}\nTo do it answer within {self._settings.confirm_s:.0f} s: /confirm {code}"
        )

    async def _confirm(self, code: str, command: Command, asker: int, now_us: int) -> str:
        pending = self._pending.get(command.chat_id)
        if pending is None:
            return "NOT DONE: nothing waits to be confirmed."
        if now_us > pending.expires_us:
            del self._pending[command.chat_id]
            return f"NOT DONE: the confirmation of /{pending.name} has expired. Send it again."
        if asker != pending.asker:
            return f"NOT DONE: whoever asked for /{pending.name} must confirm it."
        if not hmac.compare_digest(code.encode(), pending.code.encode()):
            pending.tries += 1
            if pending.tries >= _TRIES:
                del self._pending[command.chat_id]
                return f"NOT DONE: wrong code. Send /{pending.name} again."
            return "NOT DONE: wrong code."
        del self._pending[command.chat_id]
        return await self._pull(pending.name, command)

    async def _pull(self, name: str, command: Command) -> str:
        by = one_line(f"/{name} of {command.sender} in Telegram chat {command.chat_id}", 190)
        log.warning("%s", by)
        return await self._deeds.pull(_LEVELS[name], by)

    def _acknowledge(self, which: str, command: Command, now_us: int) -> str:
        number = which.removeprefix("#")
        if number and not (number.isascii() and number.isdigit() and len(number) < 19):
            return "NOT DONE: /ack takes the number of a message, such as /ack 12, or nothing."
        done = self._queue.acknowledge(
            int(number) if number else None, by=f"{command.sender} in Telegram", now_us=now_us
        )
        if not done:
            return "Nothing was open." if not number else f"#{number} is not open."
        return f"Acknowledged: {', '.join(f'#{each}' for each in done[:30])}" + (
            "…" if len(done) > 30 else ""
        )

    def _open(self) -> str:
        found = self._queue.open_messages()
        if not found:
            return "No open alerts"
        return f"{len(found)} open alerts, the last #{found[-1].message_id}: {found[-1].subject}"

    def _ignore(self, chat_id: int) -> None:
        if chat_id not in self._strangers and len(self._strangers) < _STRANGERS_MAX:
            self._strangers.add(chat_id)
            log.warning(
                "chat %d may not command and is ignored: commands.chats does not have it", chat_id
            )


def read(update: Mapping[str, Any]) -> tuple[Command, int] | None:
    """Return the command of an update and the number of who sent it; None of one that is no new text message.

    Examples
    --------
    >>> read({"update_id": 1, "edited_message": {}}) is None
    True
    """
    message = update.get("message")
    try:
        number, chat_id = update["update_id"], message["chat"]["id"]  # type: ignore[index]  # what is no mapping is a TypeError
        sender, sent_s, text = message["from"], message["date"], message["text"]  # type: ignore[index]  # likewise
        asker = sender["id"]
    except (KeyError, TypeError):
        return None
    whole = (number, chat_id, asker, sent_s)
    if not all(type(each) is int and abs(each) < 2**53 for each in whole) or not isinstance(
        text, str
    ):
        return None
    name = sender.get("username")
    words = f"@{name} ({asker})" if isinstance(name, str) and name else str(asker)
    command = Command(
        update_id=number,
        chat_id=chat_id,
        sender=one_line(words, 80),
        text=one_line(text, 200),
        sent_us=sent_s * 1_000_000,
    )
    return command, asker


async def serve(bot: Telegram, commander: Commander, now_us: Callable[[], int]) -> None:
    """Take commands for ever.

    What was taken is confirmed by the next request. A start asks without an offset: what an earlier process took and
    did not confirm comes again, and is known by its number. So does a bot that heard nothing for a day, as numbers
    begin anew at random after a week of silence.
    """
    for chat_id, text in commander.interrupted():
        await _answer(bot, chat_id, text)
    offset, heard_us, failures = None, now_us(), 0
    while True:
        try:
            updates = await bot.updates(offset)
        except Unreachable as error:
            if failures == 0:
                log.warning(
                    "Telegram cannot be reached (%s); commands are taken again when it can", error
                )
            await asyncio.sleep(_REST_S[min(failures, len(_REST_S) - 1)])
            failures += 1
            continue
        failures = 0
        for update in updates:
            answer = await commander.take(update)
            if answer is not None:
                await _answer(bot, *answer)
        numbers = [each["update_id"] for each in updates if type(each.get("update_id")) is int]
        if numbers:
            offset, heard_us = max(numbers) + 1, now_us()
            continue
        if now_us() - heard_us > _FORGOTTEN_US:
            offset = None
        await asyncio.sleep(_PAUSE_S)


async def _answer(bot: Telegram, chat_id: int, text: str) -> None:
    try:
        await bot.send(chat_id, text)
    except Unreachable as error:
        log.warning("an answer could not be sent to chat %d (%s)", chat_id, error)
