"""The Regime Detector."""
