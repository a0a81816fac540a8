"""Where orders go: the exchange, or an account on paper, behind one interface."""
