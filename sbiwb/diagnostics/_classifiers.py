"""Many small classifiers of truths and draws, trained together as one batch; see `lc2st`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from sbiwb.evidence import LC2STData
from sbiwb.seeds import torch_seed

HIDDEN = 16
BATCH_PAIRS = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 2.0  # strong: weaker decay learns the pairs by heart and finds less
MAX_INPUT = 6.0  # standardised inputs are cut there
RIDGE = 1.0
INTERCEPT_RIDGE = 1e-9
X_SCALE = 0.5  # sd of all inputs from x together: louder ones are learned by heart


@dataclass(frozen=True)
class ClassifierInputs:
    """(z, x) to inputs: what a ridge regression on x leaves of z, and x, each standardised.

    Args:
        centre_x: (H,).
        scale_x: (H,).
        slope: Of z on 1 and x, (H + 1, D).
        scale: Of what is left of z, (D,).
    """

    centre_x: np.ndarray
    scale_x: np.ndarray
    slope: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, data: LC2STData) -> ClassifierInputs:
        """From truths and draws together, so that swapping them changes nothing."""
        centre_x, scale_x = data.x.mean(axis=0), _spread(data.x)
        unit = _design(data.x, centre_x, scale_x)
        slope = _ridge_slope(unit, (data.z + data.draws) / 2)
        left = np.concatenate([data.z, data.draws]) - np.concatenate([unit, unit]) @ slope
        return cls(centre_x, scale_x, slope, _spread(left))

    def __call__(self, z: np.ndarray, x: np.ndarray) -> Tensor:
        """z (n, D), x (n, H) to (n, D + H), float32."""
        unit = _design(x, self.centre_x, self.scale_x)
        left = np.clip((z - unit @ self.slope) / self.scale, -MAX_INPUT, MAX_INPUT)
        quiet = unit[:, 1:] * X_SCALE / max(1, self.slope.shape[0] - 1) ** 0.5
        return torch.from_numpy(np.hstack([left, quiet]).astype(np.float32))


def _design(x: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """1 and standardised x, (n, H + 1)."""
    unit = np.clip((x - centre) / scale, -MAX_INPUT, MAX_INPUT)
    return np.hstack([np.ones((len(x), 1)), unit])


def _ridge_slope(design: np.ndarray, z: np.ndarray) -> np.ndarray:
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = INTERCEPT_RIDGE
    return np.linalg.solve(design.T @ design + penalty, design.T @ z)


def _spread(rows: np.ndarray) -> np.ndarray:
    """Standard deviation of each column; 1 where it is constant, rounding aside."""
    sd = rows.std(axis=0)
    return np.where(sd > 1e-9 * np.abs(rows).max(axis=0, initial=0.0), sd, 1.0)


def train(
    truth: Tensor, draw: Tensor, rng: np.random.Generator, *, networks: int, steps: int
) -> list[Tensor]:
    """Trains classifiers that tell truths from draws.

    Args:
        truth: Inputs of N pairs, (N, I).
        draw: The same with a draw for the truth, (N, I).
        rng: Seeds weights, batches and swaps.
        networks: How many; all but the first see each pair swapped or not at random.
        steps: Of training.

    Returns:
        Weights and biases, each with the networks first.
    """
    n = len(truth)
    noise = torch.Generator().manual_seed(torch_seed(rng))
    sign = _signs(networks, n, noise)
    weights = _initial(truth.shape[1], networks, noise)
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(n, (min(BATCH_PAIRS, n),), generator=noise)
        loss = _loss(weights, truth[rows], draw[rows], sign[:, rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return [weight.detach() for weight in weights]


def _signs(networks: int, n: int, noise: Generator) -> Tensor:
    """-1 where a network sees a pair swapped, else 1, (K, N); the first sees none."""
    sign = 1.0 - 2.0 * torch.randint(2, (networks, n), generator=noise)
    sign[0] = 1.0
    return sign


def _loss(weights: list[Tensor], truth: Tensor, draw: Tensor, sign: Tensor) -> Tensor:
    """Cross entropy, summed over the networks."""
    logits = _logits(weights, torch.cat([truth, draw]))
    signs = torch.cat([sign, -sign], dim=1)
    return torch.nn.functional.softplus(-signs * logits).mean(dim=1).sum()


def _initial(inputs: int, networks: int, noise: Generator) -> list[Tensor]:
    """Weights and biases of two hidden layers and an output that begins at 0."""
    first = _normal((networks, inputs, HIDDEN), noise)
    second = _normal((networks, HIDDEN, HIDDEN), noise)
    return [
        first,
        _zeros(networks, 1, HIDDEN),
        second,
        _zeros(networks, 1, HIDDEN),
        _zeros(networks, HIDDEN, 1),
        _zeros(networks, 1, 1),
    ]


def _normal(shape: tuple[int, int, int], noise: Generator) -> Tensor:
    weight = torch.randn(shape, generator=noise) * (2 / shape[-2]) ** 0.5
    return weight.requires_grad_()


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape).requires_grad_()


def _logits(weights: list[Tensor], inputs: Tensor) -> Tensor:
    """Logits (K, n) of all classifiers for the same inputs (n, I)."""
    first, bias, second, bias_second, last, bias_last = weights
    hidden = torch.relu(inputs @ first + bias)
    hidden = torch.relu(torch.baddbmm(bias_second, hidden, second))
    return torch.baddbmm(bias_last, hidden, last).squeeze(2)


@torch.no_grad()
def mean_squares(weights: list[Tensor], inputs: Tensor) -> np.ndarray:
    """Mean of (d - 1/2)² over inputs (n, I), of each classifier, (K,)."""
    distance = torch.sigmoid(_logits(weights, inputs)) - 0.5
    return (distance**2).mean(dim=1).double().numpy()
