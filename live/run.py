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

    from live.asked import Asked
    from live.guard.terminal import question
    from live.kill_switch import KillSwitch

    spoken = logging.StreamHandler(sys.stderr)
    spoken.setLevel(logging.WARNING)
    spoken.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(spoken)
    asked = Asked.of(cfg, sys.argv[1:], ask=question(sys.stdin, sys.stderr))
    switch = KillSwitch(asked.settings.folder)
    switch.hear()

    from live.compiling import compile_folds
    from live.session import run_session

    compile_folds(asked.parts)
    asyncio.run(run_session(asked, switch))
    return 0


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("live", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
