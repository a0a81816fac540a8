"""Many who ask for a page at once: ``python -m tests.alerts.flood URL N``; ends with a line on stdin."""

from __future__ import annotations

import contextlib
import http.client
import sys
import threading
import urllib.parse

ENDS = threading.Event()
COUNTS: dict[str, int] = {}


def ask(host: str) -> None:
    """Ask for the page, and for a websocket that nobody uses, until told to end."""
    while not ENDS.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(host, timeout=10.0)
            for path in ("/", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/nothing"):
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                COUNTS[str(answer.status)] = COUNTS.get(str(answer.status), 0) + 1
            connection.close()


if __name__ == "__main__":
    host = urllib.parse.urlsplit(sys.argv[1]).netloc
    asking = [threading.Thread(target=ask, args=(host,)) for _ in range(int(sys.argv[2]))]
    for each in asking:
        each.start()
    sys.stdin.readline()
    ENDS.set()
    for each in asking:
        each.join()
    sys.stdout.write(f"{COUNTS}\n")
