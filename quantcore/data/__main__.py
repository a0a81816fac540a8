"""``python -m quantcore.data``: build, fetch, convert and check market data."""

from quantcore.config import run_command
from quantcore.data.commands import main

if __name__ == "__main__":
    raise SystemExit(run_command("market_data", main))
