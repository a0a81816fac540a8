"""Commands that came in a chat, each kept before it is carried out."""

from __future__ import annotations

from dataclasses import dataclass

from live.alerts.store import Store


@dataclass(frozen=True, kw_only=True)
class Command:
    """A message that came in a chat, as it was taken."""

    update_id: int
    chat_id: int
    sender: str
    text: str
    sent_us: int


class Inbox:
    """The commands that came.

    Parameters
    ----------
    store : Store
        Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, command: Command, *, now_us: int) -> bool:
        """Keep a command before it is carried out; return False of one that was taken before."""
        with self._store.writing(lasting=True) as connection:  # it may never come twice
            added = connection.execute(
                "INSERT OR IGNORE INTO commands (update_id, chat_id, sender, text, sent_us, taken_us) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    command.update_id,
                    command.chat_id,
                    command.sender,
                    command.text,
                    command.sent_us,
                    now_us,
                ),
            ).rowcount
        return added == 1

    def carried_out(self, update_id: int, outcome: str) -> None:
        """Note what became of a command."""
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE commands SET outcome = ? WHERE update_id = ?", (outcome, update_id)
            )

    def interrupted(self) -> list[Command]:
        """Return the commands of which it is not known whether they were carried out, in order."""
        rows = self._store.all(
            "SELECT update_id, chat_id, sender, text, sent_us FROM commands WHERE outcome IS NULL ORDER BY update_id"
        )
        return [
            Command(update_id=number, chat_id=chat_id, sender=sender, text=text, sent_us=sent_us)
            for number, chat_id, sender, text, sent_us in rows
        ]
