"""The Execution Layer."""
