"""All verbs behind the door; each imports its workflow when it is called, so that `--help` needs no
torch.
"""

from __future__ import annotations

from collections.abc import Callable

from sbiwb.cli import catalog, cluster, data, exact, pipeline, results
from sbiwb.cli.door import app, serve

VERBS: dict[str, Callable[..., None]] = {  # in the order of `sbiwb --help`
    "init": catalog.init,
    "check": pipeline.check,
    "simulate": pipeline.simulate,
    "train": pipeline.train,
    "tune": pipeline.tune,
    "diagnose": pipeline.diagnose,
    "sample": pipeline.sample,
    "run": pipeline.run,
    "predict": results.predict,
    "report": results.report,
    "compare": results.compare,
    "status": results.status,
    "guide": catalog.guide,
    "parts": catalog.parts,
    "schema": catalog.schema,
    "submit": cluster.submit,
    "worker": cluster.worker,
    "verify": data.verify,
    "import": data.import_,
    "reference": exact.reference,
    "benchmark": exact.benchmark,
}
for name, verb in VERBS.items():
    app.command(name)(verb)


def main() -> None:
    """Runs the command line and ends with the exit code of the design."""
    serve(app)
