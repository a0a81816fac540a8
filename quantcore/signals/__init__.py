"""The Strategy Matrix and the Signal Generator."""
