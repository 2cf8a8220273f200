"""The verb `report`: one HTML page from the files of a run; needs no torch and changes nothing but
that page."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from sbiwb.document import read_run_config
from sbiwb.errors import DiskError, RunError
from sbiwb.files import put, put_text, read_json, sha256
from sbiwb.report import Fields, loss_picture, to_svg
from sbiwb.report.journal_figures import journal_files, journal_renderer, width_of
from sbiwb.report.page import Facts, Inferred, LikelihoodFacts, Picture, page
from sbiwb.rundir import CONFIG, PROVENANCE, RunDir

SUFFIXES = (".svg", ".png")  # the first there is shown
PAGE = "report.html"
LOSSES = ("step", "train_loss", "validation_loss")


def report(path: Path) -> Path:
    """Writes the report of a run.

    Args:
        path: The run folder.

    Returns:
        The page, `report.html` in the run folder.

    Raises:
        RunError: No run folder, or nothing is done in it yet.
        ConfigError: Its config.yaml is damaged.
        CorruptFile: A file of the run cannot be read.
    """
    put_text(path / PAGE, page(_reportable(path)))
    return path / PAGE


def figures(path: Path, folder: Path, width: float | None = None) -> list[Path]:
    """Writes each picture of a run for a paper, as PDF and as PNG.

    Args:
        path: The run folder.
        folder: Where they go, named STEP-PICTURE; what has one of these names there is replaced.
        width: Of all, in mm; None: a column of a journal or two, as the picture needs.

    Returns:
        The files.

    Raises:
        RunError: No run folder, or no picture is in it yet.
        ConfigError: CairoSVG is not installed, or the run's config.yaml is damaged.
        CorruptFile: A file of the run cannot be read.
    """
    pictures = dict(_named_pictures(_reportable(path)))
    if not pictures:
        raise RunError("holds no picture yet", where=path, todo=f"Run `sbiwb run {path}` first.")
    written = []
    with journal_renderer() as renderer:
        for stem, picture in pictures.items():
            for suffix, data in journal_files(
                renderer, picture, width or width_of(picture)
            ).items():
                written.append(folder / f"{stem}{suffix}")
                put(written[-1], data)
    return written


def _named_pictures(facts: Facts) -> Iterator[tuple[str, Picture]]:
    """Each picture of the page with the name of its file, which says its step."""
    groups = {
        "train": filter(None, [facts.loss]),
        "diagnose": facts.pictures,
        **{f"sample-{inferred.name}": inferred.pictures for inferred in facts.inferred},
        **{
            f"likelihood-{learned.structure}": [*filter(None, [learned.loss]), *learned.pictures]
            for learned in facts.likelihoods
        },
    }
    for group, pictures in groups.items():
        for picture in pictures:
            yield f"{group}-{picture.name}", picture


def _reportable(path: Path) -> Facts:
    """What a run says of itself.

    Raises:
        RunError: No run folder, or nothing is done in it yet.
    """
    facts = _facts(RunDir(path))
    if not (facts.splits or facts.provenance or facts.metrics or facts.numbers):
        raise RunError(
            "holds nothing to report yet", where=path, todo=f"Run `sbiwb run {path}` first."
        )
    return facts


def _facts(run: RunDir) -> Facts:
    config = _config(run)
    data = _data_run(run, config)
    provenance = _provenance(run, data)
    metrics = _metrics(run)
    return Facts(
        name=config.text("name") or run.name,
        path=str(run.path),
        config=config.values,
        yaml=run.config.read_text(encoding="utf-8", errors="replace"),
        splits=_json(data.manifest).fields("splits").values,
        failures=_failures(data),
        provenance=provenance,
        metrics=metrics,
        loss=_loss(metrics, Fields.of(provenance.get("train"))),
        numbers=_json(run.numbers).values or None,
        pictures=_pictures(run.diagnose),
        inferred=tuple(_inferred(run, name) for name in _samples(run)),
        notices=tuple(_notices(run, provenance)),
        likelihoods=tuple(map(_likelihood, _likelihood_runs(run))),
    )


def _likelihood_runs(run: RunDir) -> list[RunDir]:
    """Those learned beside the posterior."""
    return [RunDir(path.parent) for path in sorted(run.likelihood.glob(f"*/{CONFIG}"))]


def _likelihood(run: RunDir) -> LikelihoodFacts:
    trained = _json(run.train / PROVENANCE)
    loss = _loss(_metrics(run), trained)
    return LikelihoodFacts(run.name, trained.values, loss, _pictures(run.diagnose))


def _config(run: RunDir) -> Fields:
    """The resolved config.

    Raises:
        RunError: There is none.
        ConfigError: It is damaged.
    """
    if not run.config.is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=run.path,
            todo="Name a folder under runs/.",
        )
    return Fields(read_run_config(run.config))


def _data_run(run: RunDir, config: Fields) -> RunDir:
    """The run that holds the shards: another one where `simulate.from` names it."""
    source = config.fields("simulate").text("from")
    return RunDir((run.path / source).resolve()) if source else run


def _json(path: Path) -> Fields:
    """A JSON file of the run; no fields where it does not exist."""
    return Fields(read_json(path)) if path.is_file() else Fields({})


def _samples(run: RunDir) -> list[str]:
    return sorted(path.parent.name for path in (run.path / "sample").glob("*/summary.json"))


def _inferred(run: RunDir, name: str) -> Inferred:
    folder = run.sample(name)
    return Inferred(name, _json(folder / "summary.json").values, _pictures(folder))


def _provenance(run: RunDir, data: RunDir) -> dict[str, Mapping[str, object]]:
    """Who made what, by step, in the order of the steps."""
    folders = {"simulate": data.data, "train": run.train, "diagnose": run.diagnose}
    folders |= {f"sample {name}": run.sample(name) for name in _samples(run)}
    steps = {step: _json(folder / "provenance.json") for step, folder in folders.items()}
    return {step: facts.values for step, facts in steps.items() if facts}


def _metrics(run: RunDir) -> list[Mapping[str, object]]:
    """Validations of the training; the last line may be half written, and a damaged one is passed
    over."""
    if not run.metrics.is_file():
        return []
    text = run.metrics.read_text(encoding="utf-8", errors="replace")
    lines = map(_metrics_line, text.splitlines())
    return [line.values for line in lines if line]


def _metrics_line(text: str) -> Fields:
    with contextlib.suppress(ValueError, RecursionError):
        return Fields.of(json.loads(text))
    return Fields({})


def _loss(metrics: list[Mapping[str, object]], trained: Fields) -> Picture | None:
    """The picture of the training; None before its first validation."""
    rows = [Fields(line).numbers_at(LOSSES) for line in metrics]
    losses = [row for row in rows if row]
    if not losses:
        return None
    lowest = min(losses, key=lambda row: row[2])[0]
    best = trained.number("best_step") or lowest
    return Picture("loss", ".svg", to_svg(loss_picture(losses, int(best))))


def _pictures(folder: Path) -> tuple[Picture, ...]:
    """The pictures of a folder by name, each once: the SVG where there is one."""
    paths: dict[str, Path] = {}
    for suffix in reversed(SUFFIXES):
        paths |= {path.stem: path for path in folder.glob(f"*{suffix}")}
    try:
        return tuple(_picture(path) for _, path in sorted(paths.items()))
    except OSError as error:
        raise DiskError.of(error, folder) from error


def _picture(path: Path) -> Picture:
    return Picture(path.stem, path.suffix, path.read_bytes())


def _failures(data: RunDir) -> dict[str, int]:
    """Failed simulations by kind, from the ledgers of the shards that have one; no other part of a
    shard is read."""
    kinds: Counter[str] = Counter()
    for record in sorted(data.data.glob("*/shard-*.json")):
        if _json(record).number("failed"):
            kinds.update(_failure_kinds(record.with_suffix(".h5")))
    return dict(kinds.most_common())


def _failure_kinds(shard: Path) -> list[str]:
    """Of one shard; `sbiwb verify` says what is wrong with one that cannot be read."""
    import h5py

    with contextlib.suppress(OSError, KeyError, TypeError), h5py.File(shard, "r") as file:
        return list(file["failures/kind"].asstr(errors="replace")[:])
    return []


def _notices(run: RunDir, provenance: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What was made with other weights than those that lie in the run now."""
    if not run.best.is_file():
        return []
    weights = sha256(run.best.read_bytes())
    older = [
        step for step, facts in provenance.items() if facts.get("weights") not in (None, weights)
    ]
    if "diagnose" not in older and _likelihoods_differ(run, provenance.get("diagnose")):
        older.append("diagnose")
    return [_other_weights(step, run) for step in older]


def _likelihoods_differ(run: RunDir, diagnosed: object) -> bool:
    """Whether a likelihood was judged with other weights than it has now."""
    judged = Fields.of(diagnosed).fields("likelihood_weights")
    for likelihood in _likelihood_runs(run):
        known = judged.text(f"likelihood {likelihood.name}")
        if known and likelihood.best.is_file() and known != sha256(likelihood.best.read_bytes()):
            return True
    return False


def _other_weights(step: str, run: RunDir) -> str:
    verb, _, observation = step.partition(" ")
    what = "The verdict and its pictures are"
    if observation:
        what = f"What is said about {observation} is"
    return f"{what} of other weights than those trained last: run `sbiwb {verb} {run.path}` again."
