"""The Risk Management Layer."""
