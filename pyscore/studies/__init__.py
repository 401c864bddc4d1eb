"""Studies beside the paper's experiment: where reconstruction error is blind, and manifolds of known density."""
