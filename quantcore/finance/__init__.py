"""The Financial Engineering Layer: pure functions over arrays and panels."""
