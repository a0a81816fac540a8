"""A loop that writes until it is killed: ``python -m tests.journal.worker URL``.

After each commit it prints one line of what was committed, and nothing before: whoever reads it knows the least that
the journal must hold.
"""

from __future__ import annotations

import json
import sys

from live.broker.interface import Outcome
from live.journal import open_journal
from tests.journal.entries import ADVANCE, Loop, answered, fill, intent, session


def tell(**said: object) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main(url: str) -> None:
    with open_journal(url) as journal:
        recovered = journal.recover()
        journal.begin(session(), now_us=0)
        loop = Loop(journal, snapshot_every=8)
        resumed = recovered.resume(ADVANCE)
        if resumed is not None:
            assert resumed.signal is not None
            loop.account, loop.signal = resumed.account, resumed.signal
        tell(resumed=recovered.seq)
        while True:
            seq = journal.next_seq
            numbers = [25 * seq + i for i in range(25)]
            ids = loop.step([intent(number) for number in numbers], extras=True)
            tell(seq=seq, intents=ids, sha=loop.account.digest())
            for intent_id in ids[:3]:
                journal.answer(answered(intent_id, Outcome.REFUSED))
                tell(answered=intent_id)
            journal.hear([fill(seq, client_id="other")], heard_us=seq)
            tell(fill=seq)


if __name__ == "__main__":
    main(sys.argv[1])
