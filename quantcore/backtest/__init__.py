"""One backtest: engine, results, metrics, report; the package is also a function, ``quantcore.backtest("trend")``."""

from quantcore.backtest.entrance import make_callable

# `quantcore.backtest` is the name of the package and of the function in a notebook, and Python knows one of a name.
make_callable(__name__)
