"""Research at scale."""
