"""The trained posterior in the user's own units: draws and densities, in bounded chunks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from sbiwb.contracts import OutputKind
from sbiwb.errors import DataError
from sbiwb.posterior._named_theta import density_array, draws_dataset, stacked
from sbiwb.posterior._network_density import (
    Inputs,
    NetworkDensity,
    Unconstrained,
    data_sets_in,
)
from sbiwb.records import Variable

if TYPE_CHECKING:
    import xarray

    from sbiwb.posterior._network_density import Network

Seed = np.random.Generator | int | None
DOUBLE_BYTES = 8
COPIES = 3  # of the draws: by column, by parameter and in the files


@dataclass(frozen=True)
class Posterior:
    """q(theta | x).

    Wherever x is asked for, it is a dict, a data frame, an xarray Dataset or the like of
    observables and context by name; of numpy arrays, torch tensors, lists, columns of pandas or
    xarray. A variable is read by its number of axes alone:

    - with N data sets in front: (N,) or (N, C) for a vector; (N, M) or (N, M, C), a list of N
      arrays (M_i,) or (M_i, C), or `Ragged` for a set or a series
    - without them, one data set: () or (C,); (M,) or (M, C)
    - a plain number beside N data sets holds for all of them
    - where there is one variable, x may be that variable itself

    A set of single numbers given as (R, C = 1) is therefore R data sets of one member; it is
    refused where training never had one member. Results always have N in front, also for one data
    set.

    Args:
        columns: Names of theta's D columns.
        theta_map: Theta to z and back.
        inputs: Input adapters by name.
        read: From x in any of these forms to N data sets of each variable that the inputs read.
        networks: The trained networks, W of them; draws mix theirs.
        device: Where it lives.
        threads: Chunks worked on at a time.
        units: Of the parameters, by name; may be incomplete.
        shares: Of each network in the mixture, (W,); None where there is one.

    Example:
        >>> posterior = load_posterior("runs/influenza")                        # doctest: +SKIP
        >>> posterior.sample({"in_bed": [3, 8, 26, 76, ...]}, 1000).shape       # doctest: +SKIP
        (1, 1000, 3)
        >>> posterior.sample_xarray({"in_bed": counts}, 1000)["beta"].mean()    # doctest: +SKIP
    """

    columns: tuple[str, ...]
    theta_map: Unconstrained
    inputs: Mapping[str, Inputs]
    read: Callable[[object], Mapping[str, Variable]]
    networks: Sequence[Network]
    device: str = "cpu"
    threads: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    shares: Sequence[float] = (1.0,)

    @property
    def output_kind(self) -> OutputKind:
        """What the networks have: a joint density, draws of each parameter, or an estimate."""
        return self.networks[0].output_kind

    def _each_network(self) -> Iterator[NetworkDensity]:
        for network in self.networks:
            yield NetworkDensity(
                network,
                self.theta_map,
                self.inputs,
                len(self.columns),
                self.device,
                self.threads,
            )

    def sample(self, x: object, n: int, rng: Seed = None) -> np.ndarray:
        """Draws for every data set in x.

        Args:
            x: Observables and context of N data sets, or of one; see the class.
            n: Draws for each.
            rng: Generator or seed; the draws depend on it and on nothing else, not on chunks.

        Returns:
            Draws in the user's units, (N, n, D) float64.

        Raises:
            DataError: A variable is missing, of another shape, or not finite; or the draws are more
                than this machine can hold.
        """
        rng, columns = np.random.default_rng(rng), self.read(x)
        count = data_sets_in(columns)
        _check_memory(count, n, len(self.columns))
        if len(self.networks) == 1:
            return next(self._each_network()).sample(columns, n, rng)
        draws = np.empty((count, n, len(self.columns)))
        # for each data set by itself
        chosen = rng.choice(len(self.networks), (count, n), p=self.shares)
        for which, network in enumerate(self._each_network()):
            wanted = (chosen == which).sum(1)
            own = network.sample(columns, int(wanted.max(initial=0)), rng)
            draws[chosen == which] = own[np.arange(own.shape[1]) < wanted[:, None]]
        return draws

    def sample_each(self, x: object, n: int, rng: Seed = None) -> Iterator[np.ndarray]:
        """Draws of each of the W networks by itself, (N, n, D) float64 each, as `sample` takes
        x."""
        rng, columns = np.random.default_rng(rng), self.read(x)
        return (network.sample(columns, n, rng) for network in self._each_network())

    def sample_torch(
        self, x: object, n: int, rng: Seed = None, *, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        """The draws of `sample` as a tensor (N, n, D) on the network's device."""
        return torch.as_tensor(self.sample(x, n, rng), dtype=dtype, device=self.device)

    def sample_xarray(self, x: object, n: int, rng: Seed = None) -> xarray.Dataset:
        """The draws of `sample` as a Dataset with a variable for each parameter.

        Its dimensions are (data_set, draw) or, vector-valued, (data_set, draw, NAME_dim_0).
        """
        return draws_dataset(self.columns, self.sample(x, n, rng), self.units)

    def log_prob(self, theta: object, x: object) -> np.ndarray:
        """log q(theta | x) per data set, in the units of theta, -inf outside the prior's support.

        Args:
            theta: (N, D) for one theta a data set, or (N, S, D), as an array or a tensor; or by
                name, as `sample_xarray` gives it.
            x: Observables and context of the N data sets; see the class.

        Returns:
            (N,) or (N, S) float64.

        Raises:
            DataError: Theta or a variable is missing or of another shape.
        """
        densities = []
        for density, share in zip(self.log_prob_each(theta, x), self.shares, strict=True):
            densities.append(density + _log(share))
        if len(densities) == 1:
            return densities[0]
        return np.logaddexp.reduce(densities)

    def log_prob_each(self, theta: object, x: object) -> list[np.ndarray]:
        """log q of each of the W networks by itself, (N,) or (N, S) each, as `log_prob` takes theta
        and x."""
        self._check_density()
        stack, columns = stacked(self.columns, theta), self.read(x)
        self._check_theta(stack, data_sets_in(columns))
        return [network.log_prob(stack, columns) for network in self._each_network()]

    def log_prob_torch(
        self, theta: object, x: object, *, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        """The densities of `log_prob` as a tensor on the network's device, without gradients."""
        return torch.as_tensor(self.log_prob(theta, x), dtype=dtype, device=self.device)

    def log_prob_xarray(self, theta: object, x: object) -> xarray.DataArray:
        """The densities of `log_prob` over (data_set,) or (data_set, draw)."""
        return density_array(self.log_prob(theta, x))

    def ood_warnings(self, x: object) -> list[str]:
        """Sentences about values in x that no training simulation had, each once."""
        columns = self.read(x)
        sentences = dict[str, None]()
        for adapter in self.inputs.values():
            sentences |= dict.fromkeys(adapter.outside(columns))
        return list(sentences)

    def features(self, x: object) -> np.ndarray:
        """Summaries of the N data sets in x, (N, H); of several networks, by the first."""
        return next(self._each_network()).features(self.read(x)).double().cpu().numpy()

    def _check_density(self) -> None:
        if self.output_kind != OutputKind.JOINT:
            raise DataError(
                "is asked of a point network, which has no density",
                where="log_prob",
                todo="Use model.inference: {kind: nsf} for a posterior density.",
            )

    def _check_theta(self, theta: np.ndarray, count: int) -> None:
        size = len(self.columns)
        if theta.ndim in (2, 3) and (theta.shape[0], theta.shape[-1]) == (count, size):
            return
        raise DataError(
            f"theta has shape {theta.shape}; expected (N, D) or (N, S, D) "
            f"with N = {count}, D = {size}",
            where="log_prob",
            todo="One row of theta, or S rows, for each data set.",
        )


def _check_memory(data_sets: int, draws: int, columns: int) -> None:
    """Refuses draws that are larger than the machine's memory.

    Raises:
        DataError: With both sizes.
    """
    needed = data_sets * draws * columns * DOUBLE_BYTES
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory / COPIES:
        raise DataError(
            f"{draws:,} draws of {columns} columns for each of {data_sets:,} data sets are "
            f"{needed / 1e9:,.1f} GB, in {COPIES} copies; this machine has {memory / 1e9:,.1f} GB",
            where="sample",
            todo="Draw fewer (--draws), or sample the data sets in several files.",
        )


def _log(share: float) -> float:
    """log of a share, which may be 0."""
    if share:
        return math.log(share)
    return -math.inf
