"""Every file of a run damaged in every way, and every verb on it: never a bug, never a traceback.

A run is made once. Each trial copies it, damages one file and calls one verb in a fork: it must end
with a code that means something to a person, 0, 2, 3 or 75.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import readers
from tests.faults.bench import Bench, Fault, Seen, ended
from tests.tiny import Child, Tiny, _main

MEANT = ("0", "2", "3", "75")
CHANGES = {
    "simulate": {"train": 64, "validation": 32, "test": 32, "block_size": 16, "shard_size": 32},
    "train": {"steps": 12, "batch_size": 32, "validate_every": 6},
    "diagnose": {"draws": 19, "checks": ["sbc", "recovery", "misspecification"]},
}
BUILD = (("run",), ("predict", "seen"), ("simulate",))
VERBS: dict[str, tuple[str, ...]] = {
    "check": ("check", "{run}"),
    "simulate": ("simulate", "{run}"),
    "more": ("simulate", "{yaml}", "--runs", "{runs}", "--more", "16"),
    "train": ("train", "{run}"),
    "fresh": ("train", "{run}", "--fresh"),
    "diagnose": ("diagnose", "{run}"),
    "sample": ("sample", "{run}"),
    "predict": ("predict", "{run}", "seen"),
    "run": ("run", "{yaml}", "--runs", "{runs}"),
    "report": ("report", "{run}"),
    "status": ("status", "{run}"),
    "failures": ("status", "{run}", "--failures"),
    "verify": ("verify", "{run}"),
    "deep": ("verify", "{run}", "--deep"),
    "compare": ("compare", "{run}", "{other}", "--output", "{folder}/compare"),
    "draws": ("compare", "{run}/sample/seen", "{other}/sample/seen", "--output", "{folder}/over"),
    "worker": ("worker", "{run}", "0", "--of", "1"),
}


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, 1, len(data) // 2, max(0, len(data) - 1)))]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Up to 20 bytes changed."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 100, 5000)))


def nested(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"[", b'{"a":')) * 100_000


def foreign(data: bytes, rng: random.Random) -> bytes:
    """A whole file that holds something else."""
    values = ("1" * 5000, '"words"', "7", "null", "[]", "{}", '{"format": 1}', '{"format": 99}')
    return rng.choice(values).encode()


def not_utf8(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((data.decode("latin-1").encode("utf-16"), b"\xff\xfe" + data, b"\xe9" + data))


def retyped(data: bytes, rng: random.Random) -> bytes:
    """A field of a JSON object removed, or of another type; other files with a line less."""
    try:
        value = json.loads(data)
    except ValueError:
        lines = data.splitlines(keepends=True)
        return b"".join(lines[:-1] if len(lines) < 2 else lines[:1] + lines[2:])
    holder, key = rng.choice(list(places(value)) or [({"": 0}, "")])
    if rng.random() < 0.3:
        del holder[key]
    else:
        holder[key] = rng.choice((None, "words", -1, 1e300, [], {}, True, [[1]], {"a": 1}))
    return json.dumps(value).encode()


def places(value: object) -> Iterator[tuple[dict | list, str | int]]:
    """Every field of a JSON value, at any depth: what holds it, and its key."""
    if isinstance(value, dict):
        fields = list(value.items())
    elif isinstance(value, list):
        fields = list(enumerate(value))
    else:
        return
    for key, inner in fields:
        yield value, key
        yield from places(inner)


DAMAGES: Sequence[Callable[[bytes, random.Random], bytes]] = (
    cut,
    flipped,
    noise,
    nested,
    foreign,
    not_utf8,
    retyped,
    retyped,
)


@dataclass(frozen=True)
class Trial:
    """One file of a run damaged in one way, and one verb.

    Args:
        seed: Of the damage.
        verb: Key of `VERBS`.
        file: In the run folder.
        damage: What was done to it.
        ended: Exit code and output.
    """

    seed: int
    verb: str
    file: str
    damage: str
    ended: str

    @property
    def is_meant(self) -> bool:
        return self.ended.partition(" ")[0] in MEANT and "Traceback" not in self.ended

    def __str__(self) -> str:
        words = self.ended.strip().splitlines() or [""]
        shown = " | ".join(words[:1] + words[-3:])[:300]
        return f"seed {self.seed}: {self.verb} with {self.file} {self.damage}: {shown}"


def make(folder: Path) -> Tiny:
    """A run with everything in it, and another one beside it."""
    preload()
    tiny = Tiny.write(folder / "it", CHANGES)
    for verb, *more in BUILD:
        command = tiny.arguments(verb, *more)
        done = ended(start(folder, command))
        assert done.startswith("0 "), done
    shutil.copytree(tiny.run, folder / "it" / "runs" / "other")
    return tiny


def preload() -> None:
    """Imports what the verbs import, once for all forks."""
    import importlib
    import pkgutil

    import sbiwb.workflow

    for module in pkgutil.iter_modules(sbiwb.workflow.__path__):
        importlib.import_module(f"sbiwb.workflow.{module.name}")


def start(folder: Path, arguments: Sequence[str]) -> Child:
    import os

    def work() -> int:
        os.chdir(folder)
        return _main(list(arguments))

    log = folder / "told.txt"
    log.unlink(missing_ok=True)
    return Child.start(work, log)


def trial(template: Tiny, folder: Path, seed: int) -> Trial:
    """The trial of a seed, in a copy of the template."""
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template.folder.parent, folder)
    tiny = Tiny(folder / "it")
    files = sorted(path for path in tiny.run.rglob("*") if path.is_file())
    # every kind of file as often, though there are many shards and pictures
    kind = rng.choice(sorted({path.suffix for path in files}))
    path = rng.choice([path for path in files if path.suffix == kind])
    damage, verb = rng.choice(DAMAGES), rng.choice(sorted(VERBS))
    path.write_bytes(damage(path.read_bytes(), rng))
    names = {
        "run": tiny.run,
        "yaml": tiny.yaml,
        "runs": tiny.run.parent,
        "other": tiny.run.parent / "other",
        "folder": folder,
    }
    arguments = [word.format(**names) for word in VERBS[verb]]
    done = ended(start(folder, arguments))
    return Trial(seed, verb, str(path.relative_to(tiny.run)), damage.__name__, done)


def campaign(folder: Path, seeds: range) -> Iterator[Trial]:
    template = make(folder / "template")
    for seed in seeds:
        yield trial(template, folder / "trial", seed)


def damaged_files(bench: Bench) -> Seen:
    """Exit codes of many trials, and the first that is not meant."""
    trials = list(campaign(bench.folder, range(bench.times(25, 2000))))
    bugs = [one for one in trials if not one.is_meant]
    first = f"; the first: {bugs[0]}" if bugs else ""
    return Seen(f"{len(trials)} commands on damaged files, {len(bugs)} bugs{first}", None, None)


def damaged_data(bench: Bench) -> Seen:
    """Observations and imports, damaged in many ways: only our own errors come out."""
    count = bench.times(300, 20_000)
    bugs = readers.campaign(count, seed=13)
    first = f"; the first: {bugs[0]}" if bugs else ""
    return Seen(f"{count} damaged files of data, {len(bugs)} bugs{first}", None, None)


FAULTS = [
    Fault("D", "a damaged file of data", damaged_data, r"files of data, 0 bugs", slow=True),
    Fault("D", "a damaged file of a run", damaged_files, r"damaged files, 0 bugs", slow=True),
]


def main() -> None:
    """`python -m tests.faults.damage FIRST LAST`: the trials of these seeds, and each bug."""
    import sys
    import tempfile

    first, last = (int(word) for word in sys.argv[1:3])
    codes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        for done in campaign(Path(folder), range(first, last)):
            code = done.ended.partition(" ")[0]
            codes[code] = codes.get(code, 0) + 1
            if not done.is_meant:
                print(done, flush=True)
    print("exit codes", codes)


if __name__ == "__main__":
    main()
