"""``python -m live.run conf=sim``: the live loop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(cfg: DictConfig) -> int:
    """Trade until told to stop."""
    import asyncio
    import logging

    from live.guard import preflight
    from live.parts import parts_of
    from live.session import run_session
    from live.settings import LiveSettings
    from quantcore.config import build

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s"
    )
    settings = build(cfg.conf, LiveSettings)
    preflight(settings, sys.argv[1:])
    asyncio.run(run_session(cfg, settings, parts_of(cfg)))
    return 0


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("live", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
