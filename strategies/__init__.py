"""Strategies: one file each, pure functions over bars."""
