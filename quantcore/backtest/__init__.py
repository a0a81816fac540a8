"""Backtest engine, results and report."""
