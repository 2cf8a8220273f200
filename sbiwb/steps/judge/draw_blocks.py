"""Posterior draws for the test pairs: made once, block by block, each in a file that is whole or absent; read back in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.contracts import OutputKind, Reporter
from sbiwb.errors import CorruptFile
from sbiwb.evidence import RowArray
from sbiwb.files import put, remove_orphans
from sbiwb.posterior import CHUNK_ROWS, Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.project import Project
from sbiwb.records import Pairs
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


def draw_test_posteriors(
    project: Project, posterior: Posterior, pairs: Pairs, reporter: Reporter
) -> TestDraws:
    """Draws for every test pair: blocks that these weights made before are read, the others are made now."""
    n, config = len(pairs), project.config.diagnose
    made_by = {
        "weights": weights_hash(project.run),
        "draws": config.draws,
        "seed": config.seed,
        "data_hash": project.data_hash,
        "n": n,
    }
    paths = [project.run.draws / f"block-{block:06d}.h5" for block in range(-(-n // BLOCK))]
    _clean(project.run.draws, paths)
    missing = [block for block, path in enumerate(paths) if not _is_whole(path, made_by, reporter)]
    if missing:
        with reporter.task(
            "draw", n, unit="test pairs", done=n - sum(_rows(n, block).size for block in missing)
        ) as ticker:
            for block in missing:
                rows = _rows(n, block)
                put(
                    paths[block],
                    hdf5.image(_block(project, posterior, pairs.take(rows), block), made_by),
                )
                ticker.advance(len(rows))
    return _read(paths, n)


def _rows(n: int, block: int) -> np.ndarray:
    return np.arange(block * BLOCK, min((block + 1) * BLOCK, n))


def _clean(folder: Path, paths: list[Path]) -> None:
    """Removes blocks of an earlier, longer test set."""
    for path in set(folder.glob("block-*.h5")) - set(paths):
        path.unlink()
    remove_orphans(folder)


def _is_whole(path: Path, made_by: dict[str, Any], reporter: Reporter) -> bool:
    """Whether a block is there, whole and made by these weights."""
    if not path.is_file():
        return False
    try:
        data = path.read_bytes()
        found = {
            name: value for name, value in hdf5.attributes(data, path).items() if name != "format"
        }
        if found == made_by:
            hdf5.read(data, path)
        return found == made_by
    except CorruptFile as error:
        reporter.warn(f"{path} {error.what}; drawn again.")
        return False


def _block(
    project: Project, posterior: Posterior, pairs: Pairs, block: int
) -> dict[str, np.ndarray]:
    x, theta = pairs.variables, project.prior.stack(pairs.theta)
    draws = posterior.sample(
        x, project.config.diagnose.draws, generator(project.config.diagnose.seed, "draws", block)
    )
    found = {"draws": draws, "leaked": (~project.prior.inside(draws)).sum(axis=(0, 1))}
    if posterior.output_kind == OutputKind.JOINT:
        found |= {
            "log_prob_theta": posterior.log_prob(theta, x),
            "log_prob_draws": posterior.log_prob(draws, x),
        }
    return found


def _read(paths: list[Path], n: int) -> TestDraws:
    """All blocks: small arrays in memory, the draws there too unless they are many."""
    shape = (n, *_arrays(paths[0])["draws"].shape[1:])
    fits = 8 * int(np.prod(shape)) <= HELD_BYTES
    parts = [
        {name: array for name, array in _arrays(path).items() if fits or name != "draws"}
        for path in paths
    ]
    draws: RowArray = (
        np.concatenate([part["draws"] for part in parts]) if fits else OnDisk(tuple(paths), shape)
    )
    densities = ("log_prob_theta", "log_prob_draws")
    truth, cloud = (
        np.concatenate([part[name] for part in parts]) if name in parts[0] else None
        for name in densities
    )
    return TestDraws(
        draws,
        truth,
        cloud,
        np.sum([part["leaked"] for part in parts], axis=0) / (shape[0] * shape[1]),
    )


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
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        """These rows; one file is open at a time."""
        wanted = np.arange(self.shape[0])[rows]
        found = np.empty((len(wanted), *self.shape[1:]))
        for block in np.unique(wanted // BLOCK):
            here = wanted // BLOCK == block
            found[here] = _cached(self.paths[block], self.paths[block].stat().st_mtime_ns)[
                wanted[here] - block * BLOCK
            ]
        return found


@lru_cache(maxsize=2)
def _cached(path: Path, changed_ns: int) -> np.ndarray:
    return _arrays(path)["draws"]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    return hdf5.read(path.read_bytes(), path)
