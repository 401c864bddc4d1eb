"""Measuring: `harness` times, `record` keeps, `compare` judges; the suites are kernels, training, scores, datasets."""
