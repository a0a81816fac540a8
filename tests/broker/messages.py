"""Messages of the user stream as the exchange documents them, to be changed by field."""

from __future__ import annotations

from typing import Any

AT_MS = 1_704_182_280_123


def order_update(**changes: Any) -> dict[str, Any]:
    """ORDER_TRADE_UPDATE of a buy that has just been accepted."""
    order = {
        "s": "BTCUSDT", "c": "q-1", "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "0.010", "p": "41000.0", "ap": "0",
        "sp": "0", "x": "NEW", "X": "NEW", "i": 8886774, "l": "0", "z": "0", "L": "0", "n": "0", "N": "USDT",
        "T": AT_MS, "t": 0, "b": "0", "a": "0", "m": False, "R": False, "wt": "CONTRACT_PRICE", "ot": "LIMIT",
        "ps": "BOTH", "cp": False, "rp": "0", "pP": False, "si": 0, "ss": 0, "V": "EXPIRE_TAKER", "pm": "NONE",
        "gtd": 0, "er": "0",
    }  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "E": AT_MS + 1, "T": AT_MS, "o": order | changes}


def trade(**changes: Any) -> dict[str, Any]:
    """ORDER_TRADE_UPDATE of a fill."""
    filled = {
        "x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.004", "z": "0.004", "L": "40999.9", "n": "0.0328", "t": 77,
        "m": True, "rp": "1.25",
    }  # fmt: skip
    return order_update(**(filled | changes))


def algo_update(**changes: Any) -> dict[str, Any]:
    """ALGO_UPDATE of a protective stop."""
    order = {
        "caid": "q-9", "aid": 2148719, "at": "CONDITIONAL", "o": "STOP_MARKET", "s": "BTCUSDT", "S": "SELL",
        "ps": "BOTH", "f": "GTC", "q": "0.00000000", "X": "NEW", "ai": "", "ap": "0", "aq": "0.00000", "act": "0",
        "tp": "38000", "p": "0", "V": "NONE", "wt": "MARK_PRICE", "pm": "NONE", "cp": True, "pP": False, "R": False,
        "tt": 0, "gtd": 0, "rm": "",
    }  # fmt: skip
    return {"e": "ALGO_UPDATE", "E": AT_MS + 1, "T": AT_MS, "o": order | changes}


def account_update(reason: str = "ORDER", **changes: Any) -> dict[str, Any]:
    """ACCOUNT_UPDATE of a fill's balance and position."""
    told = {
        "m": reason,
        "B": [{"a": "USDT", "wb": "7699.5", "cw": "7650.25", "bc": "0"}],
        "P": [
            {
                "s": "BTCUSDT",
                "pa": "0.004",
                "ep": "40999.90",
                "bep": "0",
                "cr": "0",
                "up": "0",
                "mt": "isolated",
                "iw": "49.25",
                "ps": "BOTH",
            }
        ],
    }
    return {"e": "ACCOUNT_UPDATE", "E": AT_MS + 1, "T": AT_MS, "a": told | changes}
