"""Rows of numbers: the paper's datasets, splits, a user's tables and frames."""
