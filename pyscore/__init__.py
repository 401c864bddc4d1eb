"""Anomaly scores for generative models."""
