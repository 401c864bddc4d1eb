"""Where reconstruction error is blind, reproduced and measured (Bouman, Heskes 2025), and what sees there.

- `linear`: PCA and linear autoencoders reconstruct points at any distance exactly.
- `plane`: maps of the reconstruction error of small networks on two-dimensional data.
- `adversarial`: the search for points far from all data that an anomaly score calls normal.
- `bounded`: why a bounded latent space bounds how far such points can be.
- `images`, `tabular`: the search on a convolutional autoencoder of digits, and on the ten datasets.
- `cure`: how many of the points found the densities, and the baselines, still miss.

Nothing is imported here: each part loads what it needs.
"""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
