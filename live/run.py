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

    from live.guard.arming import preflight
    from live.settings import LiveSettings
    from quantcore.config import build

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    settings = build(cfg.conf, LiveSettings)
    preflight(settings, sys.argv[1:])

    from live.compiling import compile_folds
    from live.parts import parts_of
    from live.session import Asked, run_session

    parts = parts_of(cfg)
    compile_folds(parts)
    asyncio.run(run_session(Asked(cfg=cfg, settings=settings, parts=parts)))
    return 0


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("live", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
