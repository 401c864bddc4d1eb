"""Scores of rows: sums of named terms, models with their files, streams and explanations."""
