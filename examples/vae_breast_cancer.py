"""Score rows with a Gaussian VAE of your own: scikit-learn's breast-cancer data, trained on benign rows only.

python examples/vae_breast_cancer.py        (a few seconds; prints AUCs and writes vae_breast_cancer.png)
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn

from pyscore import ManifoldScorer
from pyscore.reference import roc_auc
from pyscore.scoring.plots import roc_and_densities, save_figure


class VAE(nn.Module):
    """Any VAE will do; this one is as plain as they come."""

    def __init__(self, features=30, latents=4, hidden=32):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.mean, self.log_variance = nn.Linear(hidden, latents), nn.Linear(hidden, latents)
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, features),
        )
        self.log_noise = nn.Parameter(torch.zeros(()))  # log σ² of p(x|z), learnt with the rest

    def encode(self, x):
        hidden = self.body(x)
        return self.mean(hidden), self.log_variance(hidden)

    def negative_elbo(self, x):
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        squared = (x - self.decoder(z)).square().sum(dim=1)
        likelihood = -0.5 * (squared / self.log_noise.exp() + x.shape[1] * self.log_noise)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
        return (divergence - likelihood).mean()


def train(vae, x, steps):
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        loss = vae.negative_elbo(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def main(steps=4000, picture="vae_breast_cancer.png"):
    torch.manual_seed(0)
    data = load_breast_cancer()
    benign, malignant = data.data[data.target == 1], data.data[data.target == 0]
    benign = np.random.default_rng(0).permutation(benign)
    scaler = StandardScaler().fit(benign[:250])
    x_train = scaler.transform(benign[:250])
    x_test = scaler.transform(np.concatenate([benign[250:], malignant]))
    labels = np.repeat([0, 1], [len(benign) - 250, len(malignant)])  # 1 = anomaly

    vae = VAE()
    train(vae, torch.as_tensor(x_train, dtype=torch.float32), steps)

    # The encoder returns (mean, log-variance): the mean is taken as the code.
    scorer = ManifoldScorer(vae.decoder, vae.encode, prior="normal").fit(x_train)
    print(f"decoder: {scorer.path} ({scorer.path_reason}); sigma2 = {scorer.sigma2_:.3f}")

    densities = scorer.score_table(x_test)  # log-densities in nats, higher = more normal
    for name in densities:
        print(f"AUC of {name:16s} {roc_auc(-densities[name], labels):.3f}")

    curves = {name: -densities[name].to_numpy() for name in ("reconstruction", "prior", "proposed", "projected")}
    figure = roc_and_densities(
        curves,
        ("proposed", densities["proposed"].to_numpy()),
        labels,
        "Gaussian VAE, breast cancer: malignant rows",
    )
    print("picture:", save_figure(figure, Path(picture)))
    return roc_auc(-densities["proposed"], labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    main(parser.parse_args().steps)
