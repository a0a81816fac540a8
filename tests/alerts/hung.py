"""A reader that stays in the midst of a transaction: ``python -m tests.alerts.hung URL``."""

from __future__ import annotations

import signal
import sys

from live.monitor.view import View, marks_of

if __name__ == "__main__":
    with View(sys.argv[1]) as view, view.journal.transaction() as connection:
        marks_of(connection)
        sys.stdout.write("in a transaction\n")
        sys.stdout.flush()
        signal.pause()
