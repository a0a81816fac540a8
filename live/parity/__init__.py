"""Parity: the same decisions and fills in a backtest and in the live loop, compared one by one."""
