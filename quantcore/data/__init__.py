"""Getting, keeping and checking market data."""
