"""``python -m live.dashboard run=PATH|db=URL``: the account, or a finished backtest, on a page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SETTINGS = ("host", "port", "names", "token", "certificate", "key", "look_s", "niceness")


def main(cfg: DictConfig) -> int:
    """Serve the page until told to stop."""
    import logging
    import os

    from live.dashboard.server import serve
    from live.dashboard.settings import DashboardSettings
    from live.monitor.place import place_of
    from quantcore.config import plain_settings
    from quantcore.settings import build_settings

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    plain = plain_settings(cfg)
    settings = build_settings({name: plain[name] for name in _SETTINGS}, kind=DashboardSettings)
    os.nice(settings.niceness)
    place = place_of(
        None if cfg.run is None else str(cfg.run), None if cfg.db is None else str(cfg.db)
    )
    serve(place, settings, lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("dashboard", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
