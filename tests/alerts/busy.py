"""A loop that is busy: ``python -m tests.alerts.busy URL NOTES PAUSE_S``.

It writes steps without a pause, and every so often a note of an error; after the note's commit it prints when that
was.
"""

from __future__ import annotations

import sys
import time

from live.broker.interface import Outcome
from live.journal import open_journal
from live.journal.records import Note, NoteKind
from tests.journal.entries import Loop, answered, fill, intent, session


def main(url: str, n_notes: int, pause_s: float) -> None:
    with open_journal(url, synchronous="normal") as journal:
        journal.begin(session(), now_us=0)
        loop = Loop(journal, snapshot_every=8)
        loop.step()
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        sys.stdin.readline()
        next_s, done = time.monotonic() + pause_s, 0
        while done < n_notes:
            number = journal.next_seq
            (sent,) = loop.step([intent(number)], extras=number % 20 == 0)
            journal.answer(answered(sent, Outcome.REFUSED))
            journal.hear([fill(number, client_id="other")], heard_us=number)
            if time.monotonic() >= next_s:
                next_s += pause_s
                journal.note(
                    Note(
                        ts_us=number,
                        kind=NoteKind.ERROR,
                        source=f"part {done}",
                        message=f"marker {done}",
                    )
                )
                sys.stdout.write(f"{done} {time.time_ns() // 1000}\n")
                sys.stdout.flush()
                done += 1
        sys.stdout.write(f"steps {journal.next_seq}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
