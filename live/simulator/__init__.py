"""A Binance USDT-M futures exchange on loopback, whose accounts are those of the backtest."""
