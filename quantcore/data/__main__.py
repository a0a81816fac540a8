"""``python -m quantcore.data``: build, fetch, convert and check market data."""

import sys

if __name__ == "__main__":
    try:
        from quantcore.config import run_command
        from quantcore.data.commands import main

        code = run_command("market_data", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
