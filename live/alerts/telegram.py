"""The two methods of Telegram's bot API that commands need. Its URLs hold the token: no error and no log has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiohttp

POLL_S: Final = 25
"""For which the service holds a request for updates open."""
_TIMEOUT_S: Final = 15.0
_TEXT_LENGTH: Final = 4_000


class Unreachable(Exception):
    """The service did not answer as it should; the message says how, without a URL."""


class Telegram:
    """A bot.

    Parameters
    ----------
    session : ClientSession
        Closed by whoever opened it.
    base_url : str
        Such as ``"https://api.telegram.org"``.
    token : str
        Of the bot.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str) -> None:
        self._session = session
        self._base_url = base_url
        self._token = token

    async def updates(self, offset: int | None, *, poll_s: int = POLL_S) -> list[Mapping[str, Any]]:
        """Return what has come, waiting for it; asking from an offset confirms all that was before it.

        Raises
        ------
        Unreachable
            If the service does not answer.
        """
        asked: dict[str, Any] = {"timeout": poll_s, "allowed_updates": ["message"]}
        if offset is not None:
            asked["offset"] = offset
        found = await self._call("getUpdates", asked, timeout_s=poll_s + _TIMEOUT_S)
        if not isinstance(found, list):
            raise Unreachable("it gave no list")
        return [each for each in found if isinstance(each, dict)]

    async def send(self, chat_id: int, text: str) -> None:
        """Send a text.

        Raises
        ------
        Unreachable
            If the service does not take it.
        """
        said = {"chat_id": chat_id, "text": text[:_TEXT_LENGTH], "disable_web_page_preview": True}
        await self._call("sendMessage", said, timeout_s=_TIMEOUT_S)

    async def _call(self, method: str, asked: Mapping[str, Any], *, timeout_s: float) -> Any:
        url = f"{self._base_url}/bot{self._token}/{method}"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(
                url, json=asked, timeout=timeout, allow_redirects=False
            ) as answer:
                told = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(type(error).__name__) from None  # the cause has the URL
        if not isinstance(told, dict) or told.get("ok") is not True:
            raise Unreachable(f"it answered {answer.status}")
        return told.get("result")
