"""Measured quantities: pure, causal functions of bars."""
