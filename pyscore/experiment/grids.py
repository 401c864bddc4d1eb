"""The grids of hyper-parameters, which the experiment runs and the results page counts; loads no torch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

__all__ = ["GRIDS", "Grid"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values of the hyper-parameters, all of which are combined. Shapes with k > d are left out."""

    name: str
    hidden_dims: tuple[int, ...]
    latent_dims: tuple[int, ...]
    n_components: tuple[int, ...]
    betas: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    cs: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)

    def values(self) -> dict[str, tuple[float, ...]]:
        """Values of each hyper-parameter, by its column in the results."""
        return {
            "hidden_dim": self.hidden_dims,
            "latent_dim": self.latent_dims,
            "n_components": self.n_components,
            "beta": self.betas,
            "c": self.cs,
        }

    def shapes(self, input_dim: int) -> list[tuple[int, int, int]]:
        """(hidden, latent, components) of every stack, smallest first."""
        product = itertools.product(self.hidden_dims, self.latent_dims, self.n_components)
        return [(h, k, p) for h, k, p in product if k <= input_dim]


GRIDS = {
    "paper": Grid(name="paper", hidden_dims=(32, 64), latent_dims=(2, 4, 9), n_components=(1, 4, 16)),
    "small": Grid(name="small", hidden_dims=(32,), latent_dims=(2, 4), n_components=(4,)),
    "latent": Grid(
        name="latent",
        hidden_dims=(64,),
        latent_dims=tuple(range(2, 10)),
        n_components=(16,),
        betas=(0.01, 0.1, 1.0),
    ),
}
"""paper: 288 models where d ≥ 9; small: 32 models, for ablations and trials; latent: the models of Figure 3."""
