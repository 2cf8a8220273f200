"""Training by several processes under torchrun, with gloo: the numbers of one process, and what
happens when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from sbiwb.training.checkpoint import checkpoints, read_checkpoint
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.conftest import Recorder
from tests.tiny import Tiny, copy, until

TRAIN = {
    "steps": 80,
    "batch_size": 64,
    "validate_every": 20,
    "patience": None,
    "checkpoint_every_s": 0.05,
    "ema": 0.9,
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("ranks") / "p", {"train": TRAIN})
    simulate(tiny.open(), Recorder())
    return tiny


def torchrun(
    tiny: Tiny,
    world: int,
    *,
    restarts: int = 0,
    program: tuple[str, ...] = ("-m", "sbiwb"),
    verb: str = "train",
) -> subprocess.Popen[str]:
    """The real command in `world` processes, found on this machine alone."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={world}",
        f"--max-restarts={restarts}",
    ]
    command = [*launcher, *program, *tiny.arguments(verb)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=tiny.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str]:
    try:
        told, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        told, _ = process.communicate()
        pytest.fail(f"hangs:\n{told}")
    return process.returncode, told


def last(tiny: Tiny) -> dict:
    return read_checkpoint(checkpoints(tiny.run / "train")[-1])["trainer"]


def children(process: subprocess.Popen[str]) -> list[int]:
    """Processes of the ranks."""
    listed = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "sbiwb"], capture_output=True, text=True
    )
    return [int(line) for line in listed.stdout.split()]


@pytest.fixture(scope="module")
def two(simulated, tmp_path_factory):
    """It, trained by two processes that nobody disturbed."""
    tiny = copy(simulated, tmp_path_factory.mktemp("two") / "p")
    code, told = ended(torchrun(tiny, 2))
    assert code == 0, told
    assert "in 2 processes" in told and told.count("Stopped at step 80") == 1  # one of them speaks
    return tiny


def test_two_processes_give_the_numbers_of_one(simulated, two, tmp_path):
    alone = copy(simulated, tmp_path / "p")
    train(alone.open(), Recorder())
    ours, theirs = last(two), last(alone)
    for name, value in theirs["module"].items():
        assert torch.allclose(ours["module"][name], value, atol=2e-5), name
    losses = [torch.tensor(state["progress"]["losses"])[:, 1:] for state in (ours, theirs)]
    assert torch.allclose(*losses, atol=1e-5)
    assert json.loads((two.run / "train/provenance.json").read_bytes())["processes"] == 2


def test_going_on_with_another_number_of_processes_keeps_the_order(simulated, two, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    stopped(tiny)
    assert 0 < last(tiny)["progress"]["step"] < 80
    code, told = ended(torchrun(tiny, 2))
    assert code == 0, told
    for name, value in last(two)["module"].items():
        assert torch.allclose(last(tiny)["module"][name], value, atol=5e-5), name


def stopped(tiny: Tiny) -> None:
    """A training by one process that was killed in the middle."""
    child = tiny.fork("train")
    until(lambda: len(checkpoints(tiny.run / "train")) == 2)
    child.kill_after(0)


def test_a_rank_that_is_killed_ends_the_others_and_torchrun_resumes(simulated, two, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    process = torchrun(tiny, 2, restarts=3)
    until(lambda: len(checkpoints(tiny.run / "train")) == 2 and len(children(process)) == 2)
    os.kill(children(process)[-1], signal.SIGKILL)
    code, told = ended(process)
    assert code == 0, told
    ours, theirs = last(tiny), last(two)
    assert all(
        torch.equal(ours["module"][name], theirs["module"][name]) for name in theirs["module"]
    )


def test_a_signal_stops_all_at_one_step_with_a_checkpoint(simulated, two, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    process = torchrun(tiny, 2)
    until(lambda: len(checkpoints(tiny.run / "train")) == 2)
    process.send_signal(signal.SIGTERM)
    code, told = ended(process)
    assert code != 0, told
    code, told = ended(torchrun(tiny, 2))
    assert code == 0 and ("Going on from step" in told or "done already" in told), told
    ours, theirs = last(tiny), last(two)
    assert all(
        torch.equal(ours["module"][name], theirs["module"][name]) for name in theirs["module"]
    )


DIVERGING = """
import os
import sys
from sbiwb.cli.app import main
from sbiwb.training.descent import Descent

real = Descent.update

def diverging(self, step):
    real(self, step)
    if os.environ["RANK"] == "1" and step == 30:
        self.weights.vector.data[0] += 1e-7 + abs(self.weights.vector.data[0]) * 1e-6

Descent.update = diverging
main()
"""


def test_processes_that_come_to_differ_are_noticed_at_the_next_validation(simulated, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    (tiny.folder / "diverging.py").write_text(DIVERGING)
    code, told = ended(torchrun(tiny, 2, program=("diverging.py",)))
    assert (
        code != 0
        and "the weights of the 2 processes came to differ" in told
        and "train step 40" in told
    ), told


def test_several_processes_do_nothing_but_train(simulated, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    code, told = ended(torchrun(tiny, 2, verb="run"))
    assert code != 0 and "runs in one process, and this is one of several" in told, told
