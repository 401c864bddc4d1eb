"""Anomalies with a small reconstruction error (Bouman, Heskes 2025), reproduced, and the scores that detect them.

- `linear`: PCA and linear autoencoders reconstruct points at any distance exactly.
- `plane`: maps of the reconstruction error of small networks on two-dimensional data.
- `adversarial`: the search for points far from all data that an anomaly score calls normal.
- `bounded`: a bounded latent space bounds the distance of such points.
- `images`, `tabular`: the search on a convolutional autoencoder of digits, and on the ten datasets.
- `cure`: how many of these points the densities and the baselines miss.

This file imports nothing; each part loads what it needs.
"""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
