"""Measuring: `harness` times, `record` keeps, `compare` judges; suites: kernels, training, scores, datasets."""
