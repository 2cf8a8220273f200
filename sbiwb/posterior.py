"""The trained posterior in the user's own units: draws and densities, in bounded chunks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from sbiwb.contracts import OutputKind
from sbiwb.errors import DataError
from sbiwb.records import Columns, Variable, take

if TYPE_CHECKING:
    import xarray

    from sbiwb.contracts.modules import NetworkInputs

    class Network(Protocol):
        """Summaries and a density."""

        @property
        def output_kind(self) -> OutputKind: ...
        def eval(self) -> object: ...
        def summarise(self, inputs: NetworkInputs) -> torch.Tensor: ...
        def log_prob(self, z: torch.Tensor, features: torch.Tensor) -> torch.Tensor: ...
        def transport(self, noise: torch.Tensor, features: torch.Tensor) -> torch.Tensor: ...


CHUNK_DRAWS = 4096  # a flat call over hundreds of thousands of draws leaves the cache and is slower
CHUNK_ROWS = 512


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
class Posterior:
    """q(theta | x).

    Wherever x is asked for, it is a dict, a data frame, an xarray Dataset or the like of observables and context by name; of numpy
    arrays, torch tensors, lists, columns of pandas or xarray. A variable is read by its number of axes alone:

    - with N data sets in front: (N,) or (N, C) for a vector; (N, M) or (N, M, C), a list of N arrays (M_i,) or (M_i, C), or `Ragged`
      for a set or a series
    - without them, one data set: () or (C,); (M,) or (M, C)
    - a plain number beside N data sets holds for all of them
    - where there is one variable, x may be that variable itself

    A set of single numbers given as (R, C = 1) is therefore R data sets of one member; it is refused where training never had one
    member. Results always have N in front, also for one data set.

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
    read: Callable[[Any], Mapping[str, Variable]]
    networks: Sequence[Network]
    device: str = "cpu"
    threads: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    shares: Sequence[float] = (1.0,)

    @property
    def output_kind(self) -> OutputKind:
        """`joint`: a density of all parameters; `marginals`: draws of each alone; `estimate`: one number for each."""
        return self.networks[0].output_kind

    def sample(self, x: Any, n: int, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """Draws for every data set in x.

        Args:
            x: Observables and context of N data sets, or of one; see the class.
            n: Draws for each.
            rng: Generator or seed; the draws depend on it and on nothing else, not on chunks.

        Returns:
            Draws in the user's units, (N, n, D) float64.

        Raises:
            DataError: A variable is missing, of another shape, or not finite.
        """
        rng, read = np.random.default_rng(rng), self.read(x)
        if len(self.networks) == 1:
            return self._drawn(self.networks[0], read, n, rng)
        count = _count(read)
        draws = np.empty((count, n, len(self.columns)))
        chosen = rng.choice(
            len(self.networks), (count, n), p=self.shares
        )  # for each data set by itself
        for which, network in enumerate(self.networks):
            wanted = (chosen == which).sum(1)
            found = self._drawn(network, read, int(wanted.max(initial=0)), rng)
            draws[chosen == which] = found[np.arange(found.shape[1]) < wanted[:, None]]
        return draws

    def sample_each(
        self, x: Any, n: int, rng: np.random.Generator | int | None = None
    ) -> Iterator[np.ndarray]:
        """Draws of each of the W networks by itself, (N, n, D) float64 each; arguments as in `sample`."""
        rng, read = np.random.default_rng(rng), self.read(x)
        return (self._drawn(network, read, n, rng) for network in self.networks)

    def sample_torch(
        self,
        x: Any,
        n: int,
        rng: np.random.Generator | int | None = None,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> torch.Tensor:
        """The draws of `sample` as a tensor (N, n, D) on the network's device."""
        return torch.as_tensor(self.sample(x, n, rng), dtype=dtype, device=self.device)

    def sample_xarray(
        self, x: Any, n: int, rng: np.random.Generator | int | None = None
    ) -> xarray.Dataset:
        """The draws of `sample` as a Dataset: a variable a parameter, (data_set, draw) or, vector-valued, (data_set, draw, NAME_dim_0)."""
        import xarray

        draws = self.sample(x, n, rng)
        coordinates = {"data_set": np.arange(len(draws)), "draw": np.arange(n)}
        found = {
            name: _labelled(name, values, self.units.get(name, ""))
            for name, values in self._by_name(draws).items()
        }
        return xarray.Dataset(found, coords=coordinates)

    def log_prob(self, theta: Any, x: Any) -> np.ndarray:
        """log q(theta | x) per data set, in the units of theta, -inf outside the prior's support.

        Args:
            theta: (N, D) for one theta a data set, or (N, S, D), as an array or a tensor; or by name, as `sample_xarray` gives it.
            x: Observables and context of the N data sets; see the class.

        Returns:
            (N,) or (N, S) float64.

        Raises:
            DataError: Theta or a variable is missing or of another shape.
        """
        self._check_density()
        theta, read = self._stacked(theta), self.read(x)
        count = _count(read)
        if (
            theta.shape[0] != count
            or theta.shape[-1] != len(self.columns)
            or theta.ndim not in (2, 3)
        ):
            raise DataError(
                f"theta has shape {theta.shape}; expected (N, D) or (N, S, D) with N = {count}, D = {len(self.columns)}",
                where="log_prob",
                todo="One row of theta, or S rows, for each data set.",
            )
        found = [
            self._density(network, theta, read) + _log(share)
            for network, share in zip(self.networks, self.shares, strict=True)
        ]
        return found[0] if len(found) == 1 else np.logaddexp.reduce(found)

    def log_prob_torch(
        self, theta: Any, x: Any, *, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        """The densities of `log_prob` as a tensor (N,) or (N, S) on the network's device, without gradients."""
        return torch.as_tensor(self.log_prob(theta, x), dtype=dtype, device=self.device)

    def log_prob_xarray(self, theta: Any, x: Any) -> xarray.DataArray:
        """The densities of `log_prob` over (data_set,) or (data_set, draw)."""
        import xarray

        density = self.log_prob(theta, x)
        dimensions = ("data_set", "draw")[: density.ndim]
        coordinates = {
            name: np.arange(size) for name, size in zip(dimensions, density.shape, strict=True)
        }
        return xarray.DataArray(
            density, coordinates, dimensions, name="log_prob", attrs={"units": "nats"}
        )

    def ood_warnings(self, x: Any) -> list[str]:
        """Sentences about values in x that no training simulation had."""
        columns = self.read(x)
        return list(
            dict.fromkeys(
                sentence
                for adapter in self.inputs.values()
                for sentence in adapter.outside(columns)
            )
        )

    def features(self, x: Any) -> np.ndarray:
        """What the summary networks make of the N data sets in x, (N, H); of several networks, the first."""
        return self._features(self.networks[0], self.read(x)).double().cpu().numpy()

    def _by_name(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Theta (..., D) as (...,) of each scalar and (..., K) of each vector-valued parameter."""
        return {name: theta[..., where] for name, where in _places(self.columns).items()}

    def _stacked(self, theta: Any) -> np.ndarray:
        """Theta as (..., D): an array, or columns by name."""
        if not hasattr(theta, "keys"):
            return _float64(theta)
        places = _places(self.columns)
        missing = [name for name in places if name not in theta]
        if missing:
            raise DataError(
                f"no parameter {', '.join(missing)}",
                where="theta",
                todo=f"Give each of {', '.join(places)}.",
            )
        columns = {name: _float64(theta[name]) for name in places}
        return np.concatenate(
            [
                values[..., None] if isinstance(places[name], int) else values
                for name, values in columns.items()
            ],
            axis=-1,
        )

    def _check_density(self) -> None:
        if self.output_kind != OutputKind.JOINT:
            raise DataError(
                "is asked of a point network, which has no density",
                where="log_prob",
                todo="Use model.inference: {kind: nsf} for a posterior density.",
            )

    def _drawn(
        self, network: Network, read: Columns, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Draws of one network, (N, n, D)."""
        features = self._features(network, read)
        draws = np.empty((len(features), n, len(self.columns)))
        pieces = (
            (where, rng.standard_normal(draws[where].shape, dtype=np.float32))
            for where in _blocks(len(features), n)
        )

        def fill(piece: tuple[tuple[slice, slice], np.ndarray]) -> None:
            where, noise = piece
            draws[where] = self._transport(network, noise, features[where[0]])

        _each(fill, pieces, self.threads)
        return draws

    def _density(self, network: Network, theta: np.ndarray, read: Columns) -> np.ndarray:
        """log q of one network at theta (N, D) or (N, S, D), (N,) or (N, S)."""
        features = self._features(network, read)
        flat = theta.reshape(-1, theta.shape[-1])
        each = len(flat) // len(features)
        density = np.empty(len(flat))

        def fill(piece: slice) -> None:
            density[piece] = self._log_prob(
                network, flat[piece], features[np.arange(piece.start, piece.stop) // each]
            )

        _each(fill, iter(_pieces(len(flat), CHUNK_DRAWS)), self.threads)
        return density.reshape(theta.shape[:-1])

    @torch.no_grad()
    def _features(self, network: Network, read: Columns) -> torch.Tensor:
        """Summaries of all data sets, (N, H)."""
        network.eval()
        rows = _rows(_count(read), CHUNK_ROWS)
        return torch.cat(
            [
                self._summarise(
                    network, {name: take(values, piece) for name, values in read.items()}
                )
                for piece in rows
            ]
        )

    def _summarise(self, network: Network, x: Columns) -> torch.Tensor:
        tensors = {}
        for name, adapter in self.inputs.items():
            values, mask = adapter.apply(x)
            tensors[name] = (
                _tensor(values, self.device),
                None if mask is None else _tensor(mask, self.device),
            )
        return network.summarise(tensors)

    @torch.no_grad()
    def _transport(self, network: Network, noise: np.ndarray, features: torch.Tensor) -> np.ndarray:
        z = network.transport(_tensor(noise, self.device), features).double().cpu().numpy()
        return self.theta_map.inverse(z.reshape(-1, z.shape[-1])).reshape(z.shape)

    @torch.no_grad()
    def _log_prob(self, network: Network, theta: np.ndarray, features: torch.Tensor) -> np.ndarray:
        jacobian = self.theta_map.log_abs_det(theta)
        inside = np.isfinite(jacobian)
        z = np.zeros_like(theta)
        z[inside] = self.theta_map.forward(theta[inside])
        log_q = (
            network.log_prob(_tensor(z.astype(np.float32), self.device), features)
            .double()
            .cpu()
            .numpy()
        )
        return np.where(inside, log_q + jacobian, -np.inf)


def _count(read: Columns) -> int:
    """N, the data sets."""
    return len(next(iter(read.values())))


def _log(share: float) -> float:
    return math.log(share) if share else -math.inf


def _places(columns: Sequence[str]) -> dict[str, int | list[int]]:
    """Where each parameter's columns are: a place, or several for a vector-valued one (`beta[0]`, `beta[1]`)."""
    places: dict[str, int | list[int]] = {}
    for place, column in enumerate(columns):
        name, bracket, _ = column.partition("[")
        places[name] = [*places.get(name, []), place] if bracket else place  # type: ignore[misc]
    return places


def _labelled(
    name: str, values: np.ndarray, unit: str
) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Dimensions, values and attributes of one variable of a Dataset."""
    inner = [f"{name}_dim_0"] * (values.ndim - 2)
    return ["data_set", "draw", *inner], values, {"units": unit} if unit else {}


def _float64(values: Any) -> np.ndarray:
    return np.asarray(
        values.detach().cpu() if isinstance(values, torch.Tensor) else values, np.float64
    )


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
