"""A backtest-first research framework for Binance USDT-M perpetual futures."""
