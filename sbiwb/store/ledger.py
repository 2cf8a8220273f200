"""The failure ledger of a run: what the shards keep of failed simulations, gathered.

A failed simulation is drawn again from its seed: root `simulate.seed`, spawn key (stream of the split, block, attempt), and the row where
rows were simulated one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.store.manifest import Shard
from sbiwb.store.shards import read_failures

LEVEL = 0.95


@dataclass(frozen=True)
class Ledger:
    """F failed simulations of a run.

    Args:
        simulated: Simulations, failed ones included.
        reasons: F by reason (timeout, memory, killed by SIGSEGV, ValueError, ...), the most frequent first.
        theta: Parameters of the failed ones by name, (F,) or (F, K).
        context: Their design variables by name, (F, ...).
        messages: Why, F sentences.
        place: Where their seeds lie: block, attempt, row, (F, 3).
        seconds: What each took, (F,); NaN where an older record does not say.
    """

    simulated: int
    reasons: Mapping[str, int]
    theta: Mapping[str, np.ndarray]
    context: Mapping[str, np.ndarray]
    messages: Sequence[str]
    place: np.ndarray
    seconds: np.ndarray

    @property
    def failed(self) -> int:
        return len(self.messages)

    @property
    def p_valid(self) -> float:
        """Share of simulations that came out; NaN where there are none."""
        return 1 - self.failed / self.simulated if self.simulated else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `p_valid`; see `exact_interval`."""
        return exact_interval(self.simulated - self.failed, self.simulated)


def exact_interval(hits: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Central interval of a probability after `hits` in `trials`.

    Quantiles of Beta(hits, trials - hits + 1) below and Beta(hits + 1, trials - hits) above.

    References:
        Clopper & Pearson (1934), Biometrika 26:404, https://doi.org/10.1093/biomet/26.4.404
    """
    from scipy.special import betaincinv  # scipy.stats has it by name, and costs 0.7 s to import

    tail, misses = (1 - level) / 2, trials - hits
    low = float(betaincinv(hits, misses + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - tail)) if misses else 1.0
    return low, high


def gather(shards: Sequence[Shard]) -> Ledger:
    """The ledger of these shards; only those with failures are opened.

    Raises:
        CorruptFile: A shard is cut or altered.
    """
    guilty = [shard for shard in shards if shard.record["failed"]]
    parts = [read_failures(shard.path, shard.record) for shard in guilty]
    seconds = [shard.record.get("failed_s", [np.nan] * shard.record["failed"]) for shard in guilty]
    joined = {
        name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())
    }
    messages = [_text(one) for one in joined.get("message", ())]
    kinds = [_text(one) for one in joined.get("kind", ())]
    return Ledger(
        simulated=sum(shard.record["simulated"] for shard in shards),
        reasons=dict(
            Counter(
                _reason(kind, message) for kind, message in zip(kinds, messages, strict=True)
            ).most_common()
        ),
        theta=_group(joined, "theta/"),
        context=_group(joined, "context/"),
        messages=messages,
        place=np.stack([joined[name] for name in ("block", "attempt", "row")], axis=1)
        if joined
        else np.zeros((0, 3), int),
        seconds=np.concatenate([np.asarray(one, float) for one in seconds])
        if seconds
        else np.zeros(0),
    )


def count_reasons(shards: Sequence[Shard]) -> dict[str, int]:
    """Failures by reason, from the records alone."""
    found: Counter[str] = Counter()
    for shard in shards:
        found.update(shard.record.get("reasons", {}))
    return dict(found.most_common())


def _reason(kind: str, message: str) -> str:
    """The kind, of an exception its class, with which its message begins."""
    return message.partition(":")[0] if kind == "exception" else kind


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
