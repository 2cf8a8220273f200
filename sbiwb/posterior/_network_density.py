"""One trained network as draws and densities of theta, in chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sbiwb import chunks
from sbiwb.records import Columns, Variable, take

if TYPE_CHECKING:
    from sbiwb.contracts import OutputKind
    from sbiwb.contracts.network_modules import NetworkInputs

    class Network(Protocol):
        """Summaries and a density."""

        @property
        def output_kind(self) -> OutputKind: ...
        def eval(self) -> object: ...
        def summarise(self, inputs: NetworkInputs) -> torch.Tensor: ...
        def log_prob(self, z: torch.Tensor, features: torch.Tensor) -> torch.Tensor: ...
        def transport(self, noise: torch.Tensor, features: torch.Tensor) -> torch.Tensor: ...


class Inputs(Protocol):
    """An input adapter, as the posterior sees it."""

    def apply(self, variables: Mapping[str, Variable]) -> tuple[np.ndarray, np.ndarray | None]: ...
    def outside(self, variables: Mapping[str, Variable]) -> list[str]: ...


class Unconstrained(Protocol):
    """The map of theta to z, as the posterior sees it."""

    @property
    def levels(self) -> Mapping[str, Sequence[float]]:
        """The values of each discrete parameter."""
        ...

    @property
    def circular(self) -> tuple[int, ...]:
        """Columns that are angles."""
        ...

    def forward(self, theta: np.ndarray) -> np.ndarray: ...
    def inverse(self, z: np.ndarray) -> np.ndarray: ...
    def log_abs_det(self, theta: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class NetworkDensity:
    """q(theta | x) of one network.

    Args:
        network: In its place on the device.
        theta_map: Theta to z and back.
        inputs: Input adapters by name.
        size: D, columns of theta.
        device: Where the network lives.
        threads: Chunks worked on at a time.
    """

    network: Network
    theta_map: Unconstrained
    inputs: Mapping[str, Inputs]
    size: int
    device: str
    threads: int

    @torch.no_grad()
    def features(self, x: Columns) -> torch.Tensor:
        """Summaries of N data sets, (N, H)."""
        self.network.eval()
        summaries = []
        for piece in chunks.pieces(data_sets_in(x), chunks.CHUNK_ROWS):
            rows = np.arange(piece.start, piece.stop)
            summaries.append(
                self._summarise({name: take(values, rows) for name, values in x.items()})
            )
        return torch.cat(summaries)

    def _summarise(self, x: Columns) -> torch.Tensor:
        tensors: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}
        for name, adapter in self.inputs.items():
            values, mask = adapter.apply(x)
            tensors[name] = (self._tensor(values), None)
            if mask is not None:
                tensors[name] = (self._tensor(values), self._tensor(mask))
        return self.network.summarise(tensors)

    def sample(self, x: Columns, n: int, rng: np.random.Generator) -> np.ndarray:
        """n draws for each of N data sets, (N, n, D)."""
        features = self.features(x)
        draws = np.empty((len(features), n, self.size))
        noise = (
            (where, rng.standard_normal(draws[where].shape, dtype=np.float32))
            for where in chunks.draw_blocks(len(features), n)
        )

        def fill(chunk: tuple[tuple[slice, slice], np.ndarray]) -> None:
            where, part = chunk
            draws[where] = self._transport(part, features[where[0]])

        chunks.for_each(fill, noise, self.threads)
        return draws

    @torch.no_grad()
    def _transport(self, noise: np.ndarray, features: torch.Tensor) -> np.ndarray:
        """theta (N, S, D) of standard normal noise (N, S, D)."""
        z = self.network.transport(self._tensor(noise), features).double().cpu().numpy()
        return self.theta_map.inverse(z.reshape(-1, z.shape[-1])).reshape(z.shape)

    def log_prob(self, theta: np.ndarray, x: Columns) -> np.ndarray:
        """log q at theta (N, D) or (N, S, D), (N,) or (N, S)."""
        features = self.features(x)
        flat = theta.reshape(-1, theta.shape[-1])
        draws = len(flat) // len(features)
        density = np.empty(len(flat))

        def fill(piece: slice) -> None:
            data_sets = np.arange(piece.start, piece.stop) // draws
            density[piece] = self._log_prob(flat[piece], features[data_sets])

        chunks.for_each(fill, chunks.pieces(len(flat), chunks.CHUNK_DRAWS), self.threads)
        return density.reshape(theta.shape[:-1])

    @torch.no_grad()
    def _log_prob(self, theta: np.ndarray, features: torch.Tensor) -> np.ndarray:
        """log q at theta (B, D), (B,); -inf outside the prior's support."""
        jacobian = self.theta_map.log_abs_det(theta)
        inside = np.isfinite(jacobian)
        z = np.zeros_like(theta)
        z[inside] = self.theta_map.forward(theta[inside])
        log_q = self.network.log_prob(self._tensor(z.astype(np.float32)), features)
        return np.where(inside, log_q.double().cpu().numpy() + jacobian, -np.inf)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def data_sets_in(x: Columns) -> int:
    """N."""
    return len(next(iter(x.values())))
