"""The trained posterior in the user's own units: draws and densities, in bounded chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from sbiwb.errors import DataError
from sbiwb.records import Columns, Variable, take

if TYPE_CHECKING:
    from sbiwb.contracts import InferenceNetwork

    class Network(InferenceNetwork, Protocol):
        """What is trained: summaries and a density."""

        def eval(self) -> object: ...
        def summarise(self, inputs: dict[str, tuple[torch.Tensor, torch.Tensor | None]]) -> torch.Tensor: ...


CHUNK_DRAWS = 4096  # a flat call over hundreds of thousands of draws leaves the cache and is slower
CHUNK_ROWS = 512


class Inputs(Protocol):
    """An input adapter, as the posterior sees it."""

    def apply(self, variables: Mapping[str, Variable]) -> tuple[np.ndarray, np.ndarray | None]: ...
    def outside(self, variables: Mapping[str, Variable]) -> list[str]: ...


class Unconstrained(Protocol):
    """The map of theta to z, as the posterior sees it."""

    def forward(self, theta: np.ndarray) -> np.ndarray: ...
    def inverse(self, z: np.ndarray) -> np.ndarray: ...
    def log_abs_det(self, theta: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Posterior:
    """q(theta | x).

    Args:
        columns: Names of theta's D columns.
        theta_map: Theta to z and back.
        inputs: Input adapters by name.
        network: The trained estimator.
        device: Where it lives.
        threads: Chunks worked on at a time.
    """

    columns: tuple[str, ...]
    theta_map: Unconstrained
    inputs: Mapping[str, Inputs]
    network: Network
    device: str = "cpu"
    threads: int = 1

    def sample(self, x: Columns, n: int, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """Draws for every data set in x.

        Args:
            x: Observables and context by name, each (N, ...) or `Ragged`.
            n: Draws for each.
            rng: Generator or seed; the draws depend on it and on nothing else, not on chunks.

        Returns:
            Draws in the user's units, (N, n, D) float64.

        Raises:
            DataError: A variable is missing, of another shape, or not finite.
        """
        rng = np.random.default_rng(rng)
        features = self._features(x)
        draws = np.empty((len(features), n, len(self.columns)))
        pieces = ((where, rng.standard_normal(draws[where].shape, dtype=np.float32)) for where in _blocks(len(features), n))

        def fill(piece: tuple[tuple[slice, slice], np.ndarray]) -> None:
            where, noise = piece
            draws[where] = self._transport(noise, features[where[0]])

        _each(fill, pieces, self.threads)
        return draws

    def log_prob(self, theta: np.ndarray, x: Columns) -> np.ndarray:
        """log q(theta | x) per data set, in the units of theta, -inf outside the prior's support.

        Args:
            theta: (N, D) for one theta a data set, or (N, S, D).
            x: Observables and context of the N data sets.

        Returns:
            (N,) or (N, S) float64.
        """
        theta = np.asarray(theta, np.float64)
        features = self._features(x)
        if theta.shape[0] != len(features) or theta.shape[-1] != len(self.columns) or theta.ndim not in (2, 3):
            raise DataError(
                f"theta has shape {theta.shape}; expected (N, D) or (N, S, D) with N = {len(features)}, D = {len(self.columns)}",
                where="log_prob",
                todo="One row of theta, or S rows, for each data set.",
            )
        flat = theta.reshape(-1, theta.shape[-1])
        each = len(flat) // len(features)
        density = np.empty(len(flat))

        def fill(piece: slice) -> None:
            density[piece] = self._log_prob(flat[piece], features[np.arange(piece.start, piece.stop) // each])

        _each(fill, iter(_pieces(len(flat), CHUNK_DRAWS)), self.threads)
        return density.reshape(theta.shape[:-1])

    def strange(self, x: Columns) -> list[str]:
        """Sentences about values in x that no training simulation had."""
        return [sentence for adapter in self.inputs.values() for sentence in adapter.outside(x)]

    @torch.no_grad()
    def _features(self, x: Columns) -> torch.Tensor:
        """Summaries of all data sets, (N, H)."""
        self.network.eval()
        n = len(next(iter(x.values())))
        return torch.cat([self._summarise({name: take(x[name], rows) for name in x}) for rows in _rows(n, CHUNK_ROWS)])

    def _summarise(self, x: Columns) -> torch.Tensor:
        tensors = {}
        for name, adapter in self.inputs.items():
            values, mask = adapter.apply(x)
            tensors[name] = (_tensor(values, self.device), None if mask is None else _tensor(mask, self.device))
        return self.network.summarise(tensors)

    @torch.no_grad()
    def _transport(self, noise: np.ndarray, features: torch.Tensor) -> np.ndarray:
        z = self.network.transport(_tensor(noise, self.device), features).double().cpu().numpy()
        return self.theta_map.inverse(z.reshape(-1, z.shape[-1])).reshape(z.shape)

    @torch.no_grad()
    def _log_prob(self, theta: np.ndarray, features: torch.Tensor) -> np.ndarray:
        jacobian = self.theta_map.log_abs_det(theta)
        inside = np.isfinite(jacobian)
        z = np.zeros_like(theta)
        z[inside] = self.theta_map.forward(theta[inside])
        log_q = self.network.log_prob(_tensor(z.astype(np.float32), self.device), features).double().cpu().numpy()
        return np.where(inside, log_q + jacobian, -np.inf)


def _tensor(array: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _each(work: Callable[[Any], None], pieces: Iterator[Any], threads: int) -> None:
    """Works on all pieces, `threads` at a time; torch and the kernels let other threads run, each on one core."""
    if threads == 1:
        for piece in pieces:
            work(piece)
        return
    before = torch.get_num_threads()  # setting it in one thread may set it in all
    try:
        _work_in_threads(work, pieces, threads)
    finally:
        torch.set_num_threads(before)


def _work_in_threads(work: Callable[[Any], None], pieces: Iterator[Any], threads: int) -> None:
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = deque[Future[None]]()
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) > 2 * threads:
                waiting.popleft().result()
        for one in waiting:
            one.result()


def _blocks(data_sets: int, draws: int) -> Iterator[tuple[slice, slice]]:
    """Data sets and draws of each chunk: many data sets with all their draws, or some draws of one data set."""
    for rows in _pieces(data_sets, max(1, CHUNK_DRAWS // max(1, draws))):
        for columns in _pieces(draws, CHUNK_DRAWS):
            yield rows, columns


def _pieces(total: int, size: int) -> Sequence[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _rows(total: int, size: int) -> Iterator[np.ndarray]:
    return (np.arange(piece.start, piece.stop) for piece in _pieces(total, size))
