"""``python -m live.simulator``: an exchange on loopback (DESIGN.md 6)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from live.simulator.state_file import RunningExchange


def main(cfg: DictConfig) -> None:
    """Serve the exchange of the settings until it ends."""
    import asyncio
    import logging
    from dataclasses import fields
    from functools import partial

    from live.simulator.compiling import compile_exchange
    from live.simulator.recorded_data import RecordedData
    from live.simulator.server import ServerSettings, compose, serve
    from quantcore.config import build, plain_settings
    from quantcore.settings import build_settings

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    plain = plain_settings(cfg)
    settings: ServerSettings = build_settings(
        {f.name: plain[f.name] for f in fields(ServerSettings)}, kind=ServerSettings
    )
    source = build(cfg.data)
    recorded = isinstance(source, RecordedData)
    data = source.recording() if recorded else source.load(reviewed=bool(cfg.universe))
    for note in data.notes:
        logging.getLogger("live.simulator").info("%s", note)
    parts = (settings, data, build(cfg.execution), build(cfg.faults))
    compile_exchange()
    asyncio.run(serve(settings, partial(compose, *parts), _tell))


def _tell(running: RunningExchange) -> None:
    import json

    print(json.dumps(running.ready()), flush=True)


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("simulator", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
