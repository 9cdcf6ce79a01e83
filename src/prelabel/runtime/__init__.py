"""Queueing and time in front of a predictor."""
