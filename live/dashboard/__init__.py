"""The web page of a running account and of a finished backtest, of a process that trading does not need."""
