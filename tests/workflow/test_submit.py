"""`submit` without a cluster: what the batch scripts say, that nothing in them is read by a shell,
and what is refused.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from sbiwb.errors import (
    ConfigError,
    ConfigErrors,
    RunError,
    SbiwbError,
    SimulatorError,
    Stopped,
)
from sbiwb.executors import STEPS, Cluster, Job, JobCommand, script, slurm
from sbiwb.executors._batch import INDEX, ranges
from sbiwb.files import put_json, read_json
from sbiwb.project.opening import write_config
from sbiwb.steps.pairs.shard_grid import count_cells
from sbiwb.steps.pairs.tasks import Share, missing_tasks
from sbiwb.workflow import worker as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.simulate_plan import Planner
from sbiwb.workflow.submit import submit
from sbiwb.workflow.worker import worker
from tests.tiny import Recorder


def job(step="train", **changes) -> Job:
    facts = {
        "commands": (JobCommand(("sbiwb", step)),),
        "folder": Path("/a"),
        "log": Path("/a/run/jobs") / f"{step}.log",
    }
    return Job("sbiwb-x", step, **{**facts, **changes})


def missing(project, recorder, share: Share = Share()) -> list[dict]:  # noqa: B008 (frozen)
    """The tasks of what a run lacks, as executors get them."""
    planner = Planner(project, Recorder())
    grids = planner.grids(planner.existing())
    tasks = missing_tasks(project.run, grids, project.data_hash, recorder, share)
    return [task.to_json() for task in tasks]


def options(text: str) -> dict[str, str]:
    """What a script asks of sbatch."""
    words = [
        shlex.split(line.removeprefix("#SBATCH "))[0]
        for line in text.splitlines()
        if line.startswith("#SBATCH ")
    ]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def test_what_is_asked_for_by_default():
    assert options(script(job(), Cluster())) == {
        "--job-name": "sbiwb-x",
        "--comment": "/a/run/jobs/train.log",
        "--chdir": "/a",
        "--output": "/a/run/jobs/train.log",
        "--open-mode": "append",
        "--time": "60",
        "--nodes": "1",
        "--ntasks-per-node": "1",
        "--cpus-per-task": "1",
        "--signal": "USR2@180",
        "--requeue": "",
    }


def test_each_step_has_its_own_resources():
    cluster = Cluster(
        partition={"simulate": "cpu", "train": "gpu"},
        account="lab",
        time_min={"train": 600},
        cpus={"train": 8},
        memory_gb=4.5,
        gpus=4,
        nodes=2,
        extra={"train": ["--constraint=a100&nvlink"]},
    )
    train = options(script(job("train"), cluster))
    assert (train["--partition"], train["--time"], train["--cpus-per-task"], train["--mem"]) == (
        "gpu",
        "600",
        "8",
        "4608M",
    )
    assert (train["--gres"], train["--nodes"], train["--ntasks-per-node"]) == ("gpu:4", "2", "4")
    assert (train["--account"], train["--constraint"]) == ("lab", "a100&nvlink")
    array = options(script(job("simulate", elements=(0, 1, 2, 5)), cluster))
    assert (array["--array"], array["--partition"], array["--time"], array["--nodes"]) == (
        "0-2,5",
        "cpu",
        "60",
        "1",
    )
    assert "--gres" not in array and "--constraint" not in array
    assert options(script(job("diagnose"), cluster))["--gres"] == "gpu:1"
    assert "--partition" not in options(script(job("report"), cluster))


def test_one_task_a_gpu_trains_and_one_alone_checks_before():
    commands = (JobCommand(("check",)), JobCommand(("train",), everywhere=True))
    text = script(job(commands=commands), Cluster(gpus=4, nodes=2))
    assert text.endswith("\nrun --ntasks=1 --nodes=1 check\nrun --ntasks=8 --nodes=2 train\n")


def test_the_environment_comes_before_the_work():
    text = script(
        job(), Cluster(environment=["module load cuda", 'source "$HOME/venv/bin/activate"'])
    )
    assert (
        text.index("module load cuda")
        < text.index('source "$HOME/venv/bin/activate"')
        < text.index("\nrun --ntasks")
    )


NASTY = [
    "a b",
    "it's",
    'say "hi"',
    "$(touch hacked)",
    "`touch hacked`",
    "; touch hacked",
    "a%jb",
    "--flag",
    "ä",
]


@pytest.mark.parametrize("word", NASTY)
def test_no_shell_reads_a_word(tmp_path, word):
    folder = tmp_path / word
    text = script(
        job(folder=folder, log=folder / "x.log", commands=(JobCommand(("show", word, INDEX)),)),
        Cluster(),
    )
    assert options(text)["--chdir"] == str(folder) and options(text)[
        "--output"
    ] == f"{folder}/x.log".replace("%", "%%")
    path = tmp_path / "job.sh"
    path.write_text(text.replace("srun", "printf '%s\\n'"))
    done = subprocess.run(
        ["bash", path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"SLURM_ARRAY_TASK_ID": "7"},
        timeout=20,
    )
    assert done.stdout.splitlines() == ["--ntasks=1", "--nodes=1", "show", word, "7"]
    assert not list(tmp_path.glob("**/hacked"))


@pytest.mark.parametrize("word", ["a\nb", "a\tb", "a\\b", "\x7f"])
def test_what_cannot_be_quoted_is_refused(word):
    with pytest.raises(ConfigError, match="cannot stand in a batch script"):
        script(job(folder=Path("/" + word)), Cluster())


SCONTROL = 'scontrol() { echo "again"; }\nsleep() { exit 99; }\n'
CODES = [
    (75, 0, True),
    (75, 9, True),
    (137, 0, True),
    (137, 2, False),
    (1, 0, False),
    (3, 0, False),
]


@pytest.mark.parametrize(("code", "restarts", "again"), CODES)
def test_stopped_jobs_are_queued_again_and_failed_ones_are_not(tmp_path, code, restarts, again):
    def ends(text: str) -> tuple[int, str]:
        path = tmp_path / "job.sh"
        path.write_text(
            text.replace("run --ntasks", f"srun() {{ return {code}; }}\n{SCONTROL}run --ntasks", 1)
            + "echo after\n"
        )
        done = subprocess.run(
            ["bash", path],
            capture_output=True,
            text=True,
            env={"SLURM_RESTART_COUNT": str(restarts)},
            timeout=20,
        )
        return done.returncode, done.stdout

    assert ends(script(job(), Cluster())) == ((99, "again\n") if again else (code, ""))
    assert ends(script(job(), Cluster(requeue=False))) == (code, "")


@pytest.mark.parametrize("numbers", [[], [0], [3, 1, 2], [0, 2, 4], list(range(100))])
def test_ranges_name_each_number_once(numbers):
    found = [
        one
        for piece in ranges(numbers).split(",")
        if piece
        for one in range(int(piece.split("-")[0]), int(piece.split("-")[-1]) + 1)
    ]
    assert found == sorted(numbers)


REFUSED = [
    {"partition": "cpu; rm -rf /"},
    {"partition": "a b"},
    {"account": "--help"},
    {"environment": ["one\ntwo"]},
    {"extra": ["; rm"]},
    {"extra": ["--a b"]},
    {"extra": ["--comment='x'"]},
    {"time_min": 0},
    {"cpus": {"swim": 1}},
    {"time_min": 5, "signal_s": 180},
]


@pytest.mark.parametrize("values", REFUSED)
def test_what_no_job_should_ask_for_is_refused(values):
    with pytest.raises(ValidationError):
        Cluster(**values)


def test_options_can_be_written_out_and_read_again():
    cluster = Cluster(partition={"train": "gpu"}, extra=["--exclusive"], at_once=3, memory_gb=2.0)
    assert (
        Cluster(**cluster.model_dump(mode="json")) == cluster
        and Cluster(**Cluster().model_dump(mode="json")) == Cluster()
    )


def test_a_wrong_key_is_told_with_its_place(tiny):
    with pytest.raises(
        ConfigErrors, match=r"tiny.yaml:\d+:\d+  machine.cluster.partitoin  unknown key"
    ):
        tiny(machine={"cluster": {"partitoin": "cpu"}}).open()
    with pytest.raises(
        ConfigErrors, match=r"signal_s 180 takes more than half of time_min 2 \(simulate\)"
    ):
        tiny(machine={"cluster": {"time_min": 2}}).open()


def test_a_dry_run_shows_the_chain_and_touches_nothing(tiny, recorder, monkeypatch):
    monkeypatch.setattr(slurm, "_slurm", lambda *command: pytest.fail(f"asked {command}"))
    project = tiny()
    shown = submit(project.open(), recorder, dry_run=True)
    assert [(one.step, one.after) for one in shown] == [
        ("simulate", ""),
        ("train", "afterok:$simulate"),
        ("diagnose", "afterok:$train"),
        ("sample", "afterok:$diagnose"),
        ("report", "afterany:$sample"),
    ]
    assert not project.run.exists()
    assert f"worker {project.run} 0 --of 1\n" in shown[1].text and "--gate" in shown[2].text
    assert [
        one.step for one in submit(project.open(), recorder, what="diagnose", dry_run=True)
    ] == ["diagnose"]
    unseen = project.open("problem.observations={}")
    assert "sample" not in [one.step for one in submit(unseen, recorder, dry_run=True)]


def test_another_step_is_refused_with_the_known_ones(tiny, recorder):
    with pytest.raises(RunError, match="no step 'trian'") as caught:
        submit(tiny().open(), recorder, what="trian")
    assert all(step in caught.value.todo for step in (*STEPS, "all"))


@pytest.fixture
def queue(monkeypatch):
    """A cluster that only counts: what was asked of it, and the jobs in its queue."""
    asked, waiting = [], []

    def answer(*command: str) -> str:
        asked.append(command)
        if command[0] == "sbatch":
            waiting.append(str(100 + len(waiting)))
            return f"{waiting[-1]};cluster\n"
        return {
            "scontrol": "MaxArraySize            = 3\n",
            "squeue": "\n".join(waiting),
            "scancel": "",
        }[command[0]]

    monkeypatch.setattr(slurm, "_slurm", answer)
    return asked, waiting


def test_jobs_wait_for_one_another_and_are_remembered(tiny, recorder, queue):
    asked, waiting = queue
    project = tiny()
    jobs = submit(project.open(), recorder)
    assert [(one.step, one.id, one.after) for one in jobs][:3] == [
        ("simulate", "100", ""),
        ("train", "101", "afterok:100"),
        ("diagnose", "102", "afterok:101"),
    ]
    sent = [command for command in asked if command[0] == "sbatch"]
    assert sent[1][1:] == (
        "--parsable",
        "--dependency=afterok:100",
        "--kill-on-invalid-dep=yes",
        str(project.run / "jobs/train.sh"),
    )
    assert options((project.run / "jobs/simulate.sh").read_text())["--array"] == "0-2", (
        "the array may have three elements"
    )
    assert read_json(project.run / "jobs/jobs.json")["jobs"]["report"]["id"] == "104"
    with pytest.raises(RunError, match=r"jobs of this run are in the queue: 100, 101") as caught:
        submit(project.open(), recorder, what="train")
    assert "scancel 100 101" in caught.value.todo
    waiting.clear()
    assert [one.step for one in submit(project.open(), recorder, what="train")] == ["train"]


def test_only_elements_with_something_to_do_are_submitted(tiny, recorder, queue):
    project = tiny()
    simulate(project.open(), recorder)
    assert "simulate" not in [one.step for one in submit(project.open(), recorder)]
    queue[1].clear()
    (project.run / "data/train/shard-000002.h5").unlink()
    submit(project.open(), recorder)
    assert options((project.run / "jobs/simulate.sh").read_text())["--array"] == "1"


def test_borrowed_simulations_are_not_made_again(tiny, recorder, queue):
    project = tiny()
    simulate(project.open(), recorder)
    project.change({"name": "other", "simulate": {"from": "runs/tiny"}})
    jobs = submit(project.open(), recorder)
    assert [one.step for one in jobs] == ["train", "diagnose", "sample", "report"]
    assert " worker " not in jobs[0].text


def test_without_slurm_the_remedy_is_told(tiny, recorder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunError, match="there is no scontrol here") as caught:
        submit(tiny().open(), recorder)
    assert caught.value.todo == "Run this on a login node of the cluster."


def test_a_record_without_its_shard_is_no_result(tiny, recorder, monkeypatch):
    """What the queue never runs is told as lost, with the log to read."""
    project = tiny()
    simulate(project.open(), recorder)
    (project.run / "data/train/shard-000002.h5").unlink()
    tasks = missing(project.open(), recorder)
    sent: list[str] = []
    monkeypatch.setattr(
        slurm,
        "_slurm",
        lambda *command: (
            sent.append(command[0]) or {"sbatch": "1", "scontrol": ""}.get(command[0], "")
        ),
    )
    [(task, error)] = slurm.SlurmExecutor(Cluster(), resubmit=1, poll_s=0.01).run(
        lambda task: None, tasks
    )
    assert task["first_block"] == 2 and sent.count("sbatch") == 2
    assert (
        error.what == "element 1 of the array ended 2 times without finishing its shards"
        and error.where.endswith("simulate-1.log")
    )


def test_an_array_that_runs_already_is_followed(tiny, recorder, monkeypatch):
    project = tiny()
    simulate(project.open(), recorder)
    (project.run / "data/train/shard-000002.h5").unlink()
    tasks = missing(project.open(), recorder)
    answers = [f"6 another\n7 {project.run}/jobs/simulate-%a.log\n", "7\n8\n", "8\n"]

    def answer(*command: str) -> str:
        if command[0] == "squeue":
            if len(answers) == 1:
                simulate(project.open(), recorder)  # it ends
            return answers.pop(0)
        assert command[0] == "scontrol", "nothing is submitted"
        return ""

    monkeypatch.setattr(slurm, "_slurm", answer)
    [(task, record)] = slurm.SlurmExecutor(Cluster(), poll_s=0.01).run(lambda task: None, tasks)
    assert record["first_block"] == task["first_block"] == 2 and answers == []


@pytest.fixture
def lacking(tiny, recorder):
    """A simulated run without one shard, whose record is left; and the task to make it again."""
    project = tiny()
    simulate(project.open(), recorder)
    (project.run / "data/train/shard-000002.h5").unlink()
    [task] = missing(project.open(), recorder)
    return project, task


def follow(task: dict) -> Iterator:
    return slurm.SlurmExecutor(Cluster(), poll_s=0.01).run(lambda task: None, [task])


def test_while_the_controller_is_silent_no_job_is_cancelled(lacking, monkeypatch):
    asked: list[str] = []

    def answer(*command: str) -> str:
        asked.append(command[0])
        if command[0] == "squeue" and asked.count("squeue") > 1:
            raise RunError("squeue: Unable to contact slurm controller", where="SLURM")
        return "7\n" if command[0] == "sbatch" else ""

    monkeypatch.setattr(slurm, "_slurm", answer)
    monkeypatch.setattr(slurm, "SILENT_S", 0.05)
    with pytest.raises(RunError) as caught:
        list(follow(lacking[1]))
    assert "no answer for 1 s (squeue: Unable to contact slurm controller)" in caught.value.what
    assert caught.value.todo.startswith("What is submitted goes on")
    assert "scancel" not in asked and asked.count("sbatch") == 1


def test_who_stops_following_cancels_the_array(lacking, monkeypatch):
    asked: list[tuple[str, ...]] = []

    def answer(*command: str) -> str:
        asked.append(command)
        return "7\n" if command[0] in ("sbatch", "squeue") else ""

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "_slurm", answer)
    monkeypatch.setattr(slurm.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(follow(lacking[1]))
    assert asked[-1] == ("scancel", "7")


def test_an_array_that_cannot_be_cancelled_is_named(monkeypatch):
    def answer(*command: str) -> str:
        raise RunError("scancel does not answer", where="SLURM")

    monkeypatch.setattr(slurm, "_slurm", answer)
    with pytest.raises(RunError, match="the jobs go on") as caught:
        slurm.cancel(["7", "8"])
    assert caught.value.todo.endswith("scancel 7 8")


def test_a_shard_that_an_element_finished_a_moment_ago_counts(lacking, recorder, monkeypatch):
    """Between the look for what is missing and the start of the executor, say."""
    project, task = lacking
    simulate(project.open(), recorder)
    finished = Path(task["record"]).read_bytes()
    monkeypatch.setattr(slurm, "_slurm", lambda *command: "7\n" * (command[0] == "sbatch"))
    [(_, record)] = follow(task)
    assert record["first_block"] == 2 and Path(task["record"]).read_bytes() == finished


def test_the_record_of_another_problem_is_no_result(lacking, recorder, monkeypatch):
    project, task = lacking
    simulate(project.open(), recorder)
    monkeypatch.setattr(slurm, "_slurm", lambda *command: "7\n" * (command[0] == "sbatch"))
    [(_, error)] = follow({**task, "data_hash": "of another"})
    assert "ended 4 times without finishing its shards" in error.what


@pytest.fixture
def planned(tiny, recorder, queue):
    project = tiny()
    submit(project.open(), recorder, what="simulate")
    return project


@pytest.mark.parametrize("count", [1, 2, 4, 6, 7])
def test_shares_are_whole_and_do_not_overlap(planned, recorder, count):
    project = planned.open()
    shares = [missing(project, recorder, Share(index, count)) for index in range(count)]
    whole = [
        (task["split"], task["first_block"] + block)
        for share in shares
        for task in share
        for block in range(task["blocks"])
    ]
    assert len(whole) == len(set(whole)) == 8 + 2 + 2
    planner = Planner(project, Recorder())
    assert count_cells(planner.grids(planner.existing())) == 6
    assert max(map(len, shares)) == -(-6 // count)


def test_shards_of_another_size_beside_them_leave_no_gap(planned, recorder, monkeypatch):
    monkeypatch.setattr(module, "PoolExecutor", lambda workers: slurm_serial())
    simulate(
        planned.open("simulate.train=96", "simulate.shard_size=32"), recorder
    )  # three shards of one block
    write_config(planned.open())
    for index in range(2):
        worker(planned.run, recorder, index=index, count=2)
    assert missing(planned.open(), recorder) == []


def slurm_serial():
    from sbiwb.executors.serial import SerialExecutor

    return SerialExecutor()


def test_shares_in_any_order_give_the_shards_of_simulate(tmp_path, planned, recorder, monkeypatch):
    monkeypatch.setattr(module, "PoolExecutor", lambda workers: slurm_serial())
    from tests.tiny import Tiny

    alone = Tiny.write(tmp_path / "alone", {})
    simulate(alone.open(), Recorder())
    assert [worker(planned.run, recorder, index=index, count=4) for index in (3, 1, 0, 2)] == [
        1,
        2,
        2,
        1,
    ]
    assert planned.shards() == alone.shards()
    assert worker(planned.run, recorder, index=0, count=1) == 0
    assert read_json(planned.run / "data/manifest.json")["splits"]["train"]["rows"] == 256
    assert not list(planned.run.glob("jobs/element-*"))


def test_alone_it_makes_again_what_is_lost_or_damaged(tiny, recorder, monkeypatch):
    monkeypatch.setattr(module, "PoolExecutor", lambda workers: slurm_serial())
    project = tiny()
    simulate(project.open(), recorder)
    before = project.shards()
    lost, damaged = (
        project.run / "data/train/shard-000002.h5",
        project.run / "data/test/shard-000000.h5",
    )
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert worker(project.run, recorder, index=0, count=1) == 2
    assert project.shards() == before and damaged.with_suffix(".h5.damaged").exists()


def test_a_share_that_is_none_and_a_run_without_a_plan(tiny, planned, recorder):
    with pytest.raises(RunError, match="there is no share 4 of 4"):
        worker(planned.run, recorder, index=4, count=4)
    planned.run.joinpath("data/plan.json").unlink()
    with pytest.raises(RunError, match="has no plan yet") as caught:
        worker(planned.run, recorder, index=0, count=4)
    assert "sbiwb submit" in caught.value.todo


def test_starts_without_progress_end_with_an_error(planned, recorder, monkeypatch):
    def stopped(*arguments):
        raise Stopped("stopped by SIGUSR2")

    monkeypatch.setattr(module, "_simulate", stopped)
    for _ in range(3):
        with pytest.raises(Stopped):
            worker(planned.run, recorder, index=0, count=2)
    with pytest.raises(RunError, match="was begun 3 times with 3 shards missing") as caught:
        worker(planned.run, recorder, index=0, count=2)
    assert "time_min" in caught.value.todo and "shard_size" in caught.value.todo
    with pytest.raises(Stopped):  # and then the counting begins again
        worker(planned.run, recorder, index=0, count=2)


def test_an_element_notes_its_failure_for_whoever_follows(planned, recorder, monkeypatch):
    def broken(*arguments):
        raise SimulatorError("no number", where="tiny.py:4", todo="Mend it.")

    monkeypatch.setattr(module, "_simulate", broken)
    with pytest.raises(SimulatorError):
        worker(planned.run, recorder, index=1, count=2)
    told = slurm.read_failure(slurm.note(planned.run, 1, 2))
    assert isinstance(told, SimulatorError) and (told.what, told.where, told.todo) == (
        "no number",
        "tiny.py:4",
        "Mend it.",
    )
    assert slurm.read_failure(slurm.note(planned.run, 0, 2)) is None
    assert re.fullmatch(r"element-1-of-2.json", slurm.note(planned.run, 1, 2).name)


def two_problems() -> ConfigErrors:
    first = ConfigError("unknown key", where="a.yaml:3:1", todo="Did you mean 'train'?")
    return ConfigErrors([first, ConfigError("is required", where="a.yaml", todo="Add it.")])


def test_all_problems_of_a_config_reach_whoever_follows(tmp_path):
    slurm.put_failure(tmp_path / "note.json", two_problems())
    read = slurm.read_failure(tmp_path / "note.json")
    assert isinstance(read, ConfigErrors) and str(read) == str(two_problems())
    assert [(one.what, one.where, one.todo) for one in read.problems] == [
        ("unknown key", "a.yaml:3:1", "Did you mean 'train'?"),
        ("is required", "a.yaml", "Add it."),
    ]


def test_a_failure_of_an_unknown_kind_is_told_all_the_same(tmp_path):
    failure = {"kind": "from_json", "what": "no number", "where": "x", "todo": "Mend it."}
    put_json(tmp_path / "note.json", {"failure": failure})
    read = slurm.read_failure(tmp_path / "note.json")
    assert type(read) is SbiwbError and str(read) == "x  no number  Mend it."
