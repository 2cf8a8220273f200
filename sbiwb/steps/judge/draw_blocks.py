"""Posterior draws for the test pairs: made once, in blocks, and read back in pieces.

Each block is a file that is whole or absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from sbiwb.contracts import OutputKind, Reporter
from sbiwb.errors import CorruptFile
from sbiwb.files import put, remove_orphans
from sbiwb.posterior import CHUNK_ROWS, Posterior
from sbiwb.priors import Prior
from sbiwb.records import Pairs
from sbiwb.row_arrays import RowArray
from sbiwb.seeds import generator
from sbiwb.store import hdf5

BLOCK = CHUNK_ROWS // 4  # test pairs that share a seed and a file
HELD_BYTES = 256 << 20  # of draws that are kept in memory


@dataclass(frozen=True)
class TestDraws:
    """Draws for N test pairs, and densities.

    Args:
        draws: (N, S, D).
        log_prob_theta: log q at the truth, (N,); None where there is no density.
        log_prob_draws: log q at the draws, (N, S); likewise.
        leaked: Share of draws outside the prior's support, (D,).
    """

    draws: RowArray
    log_prob_theta: np.ndarray | None
    log_prob_draws: np.ndarray | None
    leaked: np.ndarray


@dataclass(frozen=True)
class DrawOptions:
    """Which draws, and where they are kept.

    Args:
        folder: Of the blocks.
        draws: For each test pair.
        seed: Root of the draws.
        weights: Hash of the network's weights.
        data_hash: Of the problem whose pairs these are.
    """

    folder: Path
    draws: int
    seed: int
    weights: str
    data_hash: str

    def paths(self, n: int) -> list[Path]:
        """A file for each block of n test pairs."""
        return [self.folder / f"block-{block:06d}.h5" for block in range(-(-n // BLOCK))]

    def made_by(self, n: int) -> dict[str, str | int]:
        """What each file remembers."""
        return {
            "weights": self.weights,
            "draws": self.draws,
            "seed": self.seed,
            "data_hash": self.data_hash,
            "n": n,
        }


def draw_test_posteriors(
    posterior: Posterior, prior: Prior, pairs: Pairs, options: DrawOptions, reporter: Reporter
) -> TestDraws:
    """Draws for every test pair.

    Blocks that these weights made before are read, the others are made now.

    Args:
        posterior: That draws.
        prior: Whose support the draws may leave.
        pairs: N test pairs.
        options: Which draws, and where they are kept.
        reporter: Where progress goes.
    """
    n = len(pairs)
    made_by = options.made_by(n)
    paths = options.paths(n)
    _clean(options.folder, paths)
    missing = [block for block, path in enumerate(paths) if not _is_whole(path, made_by, reporter)]
    if missing:
        done = n - sum(map(len, map(partial(_rows, n), missing)))
        with reporter.task("draw", n, unit="test pairs", done=done) as ticker:
            for block in missing:
                rows = _rows(n, block)
                rng = generator(options.seed, "draws", block)
                arrays = _block(posterior, prior, pairs.take(rows), options.draws, rng)
                put(paths[block], hdf5.image(arrays, made_by))
                ticker.advance(len(rows))
    return _read(paths, n)


def _rows(n: int, block: int) -> np.ndarray:
    return np.arange(block * BLOCK, min((block + 1) * BLOCK, n))


def _clean(folder: Path, paths: Sequence[Path]) -> None:
    """Removes blocks of an earlier, longer test set."""
    for path in set(folder.glob("block-*.h5")) - set(paths):
        path.unlink()
    remove_orphans(folder)


def _is_whole(path: Path, made_by: Mapping[str, str | int], reporter: Reporter) -> bool:
    """Whether a block is there, whole and made by these weights."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    try:
        attributes = hdf5.attributes(data, path)
        attributes.pop("format", None)
        if attributes != made_by:
            return False
        hdf5.read(data, path)
    except CorruptFile as error:
        reporter.warn(f"{path} {error.what}; drawn again.")
        return False
    return True


def _block(
    posterior: Posterior, prior: Prior, pairs: Pairs, count: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws of some test pairs, and densities where the posterior has one."""
    x = pairs.variables
    draws = posterior.sample(x, count, rng)
    arrays = {"draws": draws, "leaked": (~prior.inside(draws)).sum(axis=(0, 1))}
    if posterior.output_kind == OutputKind.JOINT:
        arrays["log_prob_theta"] = posterior.log_prob(prior.stack(pairs.theta), x)
        arrays["log_prob_draws"] = posterior.log_prob(draws, x)
    return arrays


def _read(paths: Sequence[Path], n: int) -> TestDraws:
    """All blocks: small arrays in memory, the draws there too unless they are many."""
    shape = (n, *_arrays(paths[0])["draws"].shape[1:])
    draws: RowArray = OnDisk(tuple(paths), shape)
    if 8 * int(np.prod(shape)) <= HELD_BYTES:
        draws = draws[:]
    small = [_small_arrays(path) for path in paths]
    leaked = np.zeros(shape[2], np.int64)
    for arrays in small:
        leaked += arrays["leaked"]
    return TestDraws(
        draws,
        _joined(small, "log_prob_theta"),
        _joined(small, "log_prob_draws"),
        leaked / (shape[0] * shape[1]),
    )


def _small_arrays(path: Path) -> dict[str, np.ndarray]:
    """All but the draws."""
    arrays = _arrays(path)
    del arrays["draws"]
    return arrays


def _joined(parts: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray | None:
    """One array of all blocks; None where they have none."""
    if name not in parts[0]:
        return None
    return np.concatenate([part[name] for part in parts])


@dataclass(frozen=True)
class OnDisk:
    """Draws (N, S, D) in files of `BLOCK` rows each.

    Args:
        paths: In order.
        shape: (N, S, D).
    """

    paths: tuple[Path, ...]
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.float64]:
        return np.dtype(np.float64)

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        """These rows; one file is open at a time."""
        wanted = np.arange(self.shape[0])[rows]
        result = np.empty((len(wanted), *self.shape[1:]))
        for block in np.unique(wanted // BLOCK):
            path = self.paths[block]
            here = wanted // BLOCK == block
            draws = _cached(path, path.stat().st_mtime_ns)
            result[here] = draws[wanted[here] - block * BLOCK]
        return result


@lru_cache(maxsize=2)
def _cached(path: Path, changed_ns: int) -> np.ndarray:
    return _arrays(path)["draws"]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    return hdf5.read(path.read_bytes(), path)
