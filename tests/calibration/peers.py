"""`make calibration`, second part: the same draws through sbiwb and through sbi, BayesFlow,
arviz-stats and the tarp package.

    python -m tests.calibration.peers                     two Markdown tables: equal numbers, and
    false alarms python -m tests.calibration.peers --out peers.md      also written to a file

Each peer runs by its own functions in an environment of its own, made where it is missing. Where
its definition differs from ours, our number is taken by its definition too, and that has to be
equal: so the reason given is the whole reason. Exits with 1 where it is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sbiwb.diagnostics import _ecdf
from tests.bench.contenders import READY, ROOT, ensure, envs_are_ours, requirements
from tests.calibration.comparisons import (
    ALARM_DRAWS,
    ALARM_PAIRS,
    ALARM_SETS,
    COMPARISONS,
    Row,
    Shared,
)

HERE = Path(__file__).parent
SCRIPTS = {"sbi": ("sbi", "with_sbi.py"), "BayesFlow": ("bf", "with_bayesflow.py")}
SCRIPTS |= {"arviz-stats": ("arviz", "with_arviz.py"), "tarp": ("tarp", "with_tarp.py")}
OURS = "sbiwb: sbc"


def prepare(environment: str, envs: Path) -> None:
    """Makes a peer's environment unless it is there; those of `make bench` as it makes them.

    Raises:
        subprocess.CalledProcessError: pip or venv failed.
    """
    folder = envs / environment
    if environment in requirements():
        ensure(environment, envs)
    elif envs_are_ours(envs) and not (folder / READY).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *wanted(environment)], check=True)
        (folder / READY).touch()


def wanted(environment: str) -> list[str]:
    """What peers.txt says of an environment."""
    lines = [line.split() for line in (HERE / "peers.txt").read_text().splitlines()]
    return next(words[1:] for words in lines if words and words[0] == environment)


def ask(peer: str, data: Path, envs: Path) -> dict[str, Any]:
    """A peer's numbers for the arrays of a file.

    Raises:
        RuntimeError: Its script failed.
    """
    environment, script = SCRIPTS[peer]
    command = [
        str(envs / environment / "bin" / "python"),
        "-W",
        "ignore",
        str(HERE / script),
        str(data),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def rows(shared: Shared, answers: Mapping[str, dict[str, Any]]) -> dict[str, list[Row]]:
    """All comparisons, by peer."""
    numbers = {
        peer: {name: np.atleast_1d(value) for name, value in answer["numbers"].items()}
        for peer, answer in answers.items()
    }
    return {peer: list(COMPARISONS[peer](shared, found)) for peer, found in numbers.items()}


def agreement(compared: Mapping[str, list[Row]]) -> Iterator[str]:
    yield "| quantity | peer | ours | theirs | largest difference by their definition | why ours and theirs differ |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for peer, found in compared.items():
        yield from (row.line(peer) for row in found)
    yield ""


def own_alarms(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Share of each collection of exact rank sets that our SBC rejects at 5 %, by S."""
    sets = {
        name.removeprefix("exact_"): ranks
        for name, ranks in arrays.items()
        if name.startswith("exact_")
    }
    return {
        s: {OURS: float((_ecdf.uniformity(ranks.T, int(s)).p <= 0.05).mean())}
        for s, ranks in sets.items()
    }


def false_alarms(alarms: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """A table of package -> S -> test -> share."""
    yield f"False alarms at a nominal 5 %, in per cent of {ALARM_SETS} sets of {ALARM_PAIRS:,} ranks of an exact posterior:"
    yield ""
    yield "| test | " + " | ".join(f"S = {s}" for s in ALARM_DRAWS) + " |"
    yield "| --- |" + " ---: |" * len(ALARM_DRAWS)
    for package, by_draws in alarms.items():
        for test in next(iter(by_draws.values()), {}):
            name = test if test == OURS else f"{package}: {test}"
            yield (
                f"| {name} | "
                + " | ".join(f"{100 * by_draws[str(s)][test]:.1f}" for s in ALARM_DRAWS)
                + " |"
            )
    yield ""


def main(
    envs: Annotated[
        Path, typer.Option(envvar="SBIWB_BENCH_ENVS", help="Environments of the peers.")
    ] = ROOT / ".bench" / "envs",
    out: Annotated[Path | None, typer.Option(help="Where the tables are kept as Markdown.")] = None,
) -> None:
    """Compares and prints."""
    shared = Shared.make()
    arrays = shared.arrays()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "draws.npz"
        np.savez(data, **arrays)
        for environment, _ in SCRIPTS.values():
            prepare(environment, envs)
        answers = {peer: ask(peer, data, envs) for peer in SCRIPTS}
    compared = rows(shared, answers)
    alarms = {
        "": own_alarms(arrays),
        **{
            peer: answer["false_alarms"]
            for peer, answer in answers.items()
            if answer["false_alarms"]
        },
    }
    text = "\n".join([*agreement(compared), *false_alarms(alarms)]) + "\n"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    typer.echo(text)
    raise typer.Exit(0 if all(row.equal for found in compared.values() for row in found) else 1)


if __name__ == "__main__":
    typer.run(main)
