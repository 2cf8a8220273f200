"""The command line: exit codes, messages with three parts, and nothing but what was asked for."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import typing

import pytest
from typer.testing import CliRunner

from sbiwb import __version__, files
from sbiwb.cli.app import VERBS, app
from sbiwb.errors import GateFailed, Stopped, TrainingError
from sbiwb.workflow.parts import families
from sbiwb.workflow.simulate import simulate
from tests.store.faulty import RefusingDisk
from tests.tiny import SBIWB, SLOW_SIMULATOR, Recorder, Tiny

HEAVY = ("torch", "numpy", "h5py", "pydantic", "yaml", "matplotlib", "scipy", "rich.progress")


@pytest.fixture
def sbiwb(tmp_path, monkeypatch):
    """Runs a verb in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SBIWB_DEBUG", "")

    def call(*arguments: str):
        return CliRunner().invoke(app, list(arguments))

    return call


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("simulated"), {})
    simulate(tiny.open(), Recorder())
    return tiny


def loaded_by(*arguments: str) -> tuple[int, set[str], str]:
    """Exit code, heavy packages that a command imported, and what it said."""
    code = (
        "import sys\nfrom sbiwb.cli.app import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        f"print('HEAVY', code, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    *said, last = told.stdout.splitlines()
    _, exit_code, *heavy = last.split()
    return int(exit_code or 0), set(heavy), "\n".join(said)


def test_help_and_version_import_nothing_heavy():
    code, heavy, said = loaded_by("--help")
    assert (code, heavy) == (0, set())
    for verb in (
        "init",
        "check",
        "simulate",
        "train",
        "diagnose",
        "sample",
        "run",
        "predict",
        "report",
        "compare",
        "status",
        "guide",
    ):
        assert re.search(rf"^ +{verb} +[A-Z]", said, re.M), f"no help on {verb}"
    code, heavy, said = loaded_by("--version")
    assert (code, heavy, said) == (0, set(), f"sbiwb {__version__}")


def test_the_guide_imports_nothing_heavy():
    for topic in ((), ("clusters",)):
        code, heavy, said = loaded_by("guide", *topic)
        assert code == 0 and heavy <= {"pydantic"}  # which typer itself may load
        assert "clusters" in said.lower()


def test_status_needs_no_torch(simulated):
    code, heavy, said = loaded_by("status", str(simulated.run))
    assert code == 0 and "torch" not in heavy
    assert re.search(r"train +256 +256 +4 +0", said) and f"sbiwb train {simulated.run}" in said


def test_no_verb_shows_the_help(sbiwb):
    assert "Usage: sbiwb" in sbiwb().output


MENDABLE = [
    (("check", "none.yaml"), "none.yaml", "no such file", "`sbiwb init NAME` makes a project"),
    (
        ("status", "nowhere"),
        "nowhere",
        "is no run folder: it holds no config.yaml",
        "Name a folder under runs/.",
    ),
    (
        ("parts", "priers"),
        "sbiwb parts",
        "no family 'priers'",
        "Did you mean priors? One of: priors,",
    ),
    (("parts", "priors", "norml"), "sbiwb parts", "no part 'norml' in priors", "One of:"),
    (
        ("guide", "likelihood"),
        "sbiwb guide",
        "no chapter 'likelihood'",
        "Did you mean likelihoods?",
    ),
    (("init", "a-b"), "a-b", "is no name for files and functions", "Use letters"),
]


@pytest.mark.parametrize(("arguments", "where", "what", "todo"), MENDABLE)
def test_what_a_user_can_mend_has_three_parts_and_code_2(sbiwb, arguments, where, what, todo):
    result = sbiwb(*arguments)
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()[:2]
    assert first == f"error  {where}  {what}" and second.strip().startswith(todo)
    assert "Traceback" not in result.output and result.stdout == ""


def test_all_problems_of_a_yaml_are_shown(sbiwb, tiny):
    project = tiny(train={"stebs": 3}, simulate={"train": -1})
    result = sbiwb("check", str(project.yaml))
    assert result.exit_code == 2 and result.stderr.count("error") == 2
    assert re.search(
        rf"error  {re.escape(str(project.yaml))}:\d+:\d+  simulate.train  must be at least 1, not -1",
        result.stderr,
    )
    assert "did you mean 'steps'?" in result.stderr


def test_brackets_in_a_message_are_shown_as_they_are(sbiwb, tiny):
    result = sbiwb("check", str(tiny().yaml), "--set", "train.steps=[red]")
    assert "train.steps" in result.stderr and result.exit_code == 2
    result = sbiwb("check", "[bold]x[/].yaml")
    assert "[bold]x[/].yaml" in result.stderr


def numbers():
    """(verb, name, option) of every number that a command line takes."""
    for verb, function in VERBS.items():
        for name, hint in typing.get_type_hints(function, include_extras=True).items():
            if {int, float} & {hint, *typing.get_args(hint), *inner(hint)}:
                [option] = hint.__metadata__
                yield verb, name, option


def inner(hint) -> set:
    return {kind for part in typing.get_args(hint) for kind in typing.get_args(part)}


def test_every_number_of_a_command_has_a_bound_or_is_looked_up():
    every = list(numbers())
    assert len(every) > 10
    free = {(verb, name) for verb, name, option in every if option.max is None}
    assert free == {("benchmark", "budget"), ("benchmark", "seed")}  # of those in its YAML


@pytest.mark.parametrize("verb", ["sample", "predict", "reference"])
def test_too_many_draws_are_refused_with_the_bound(sbiwb, verb):
    result = sbiwb(verb, "some.yaml", "--draws", "1000000000000000000")
    assert result.exit_code == 2 and re.search(r"\b1000000\b", result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulat",),
        ("check",),
        ("check", "a", "b", "c"),
        ("check", "a", "--nope"),
        ("sample", "a", "--draws", "x"),
    ],
)
def test_a_mistyped_command_is_told_by_the_shell_parser(sbiwb, arguments):
    result = sbiwb(*arguments)
    assert result.exit_code == 2 and "Usage:" in result.stderr and "Traceback" not in result.stderr


CODES = [
    (GateFailed("one number fails"), 3, "one number fails"),
    (Stopped("stopped by SIGTERM"), 75, "stopped by SIGTERM"),
    (TrainingError("the loss was nan"), 2, "the loss was nan"),
    (KeyboardInterrupt(), 130, "Interrupted. What is finished is kept"),
]


@pytest.mark.parametrize(("error", "code", "told"), CODES)
def test_exit_codes(sbiwb, monkeypatch, error, code, told):
    def fail(*_):
        raise error

    monkeypatch.setattr("sbiwb.workflow.status.status", fail)
    result = sbiwb("status", "x")
    assert result.exit_code == code and told in result.stderr and "Traceback" not in result.stderr


def test_debug_shows_where_an_error_came_from(sbiwb):
    result = sbiwb("--debug", "check", "none.yaml")
    assert (
        result.exit_code == 2
        and "FileNotFoundError" in result.stderr
        and "Traceback" in result.stderr
    )
    assert "error  none.yaml  no such file" in result.stderr


def test_a_bug_of_ours_ends_with_1_and_its_traceback_in_a_file(sbiwb, monkeypatch, tmp_path):
    def fail(*_):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("sbiwb.workflow.status.status", fail)
    result = sbiwb("status", "x")
    (left,) = tmp_path.glob("sbiwb-traceback-*.txt")
    assert (
        result.exit_code == 1
        and result.stderr.startswith("bug  ZeroDivisionError: of ours")
        and left.name in result.stderr
    )
    assert (
        "Traceback (most recent call last)" in left.read_text()
        and "Traceback (" not in result.stderr
    )


def test_a_mistake_in_the_simulator_names_its_line(sbiwb, tiny):
    project = tiny()
    project.simulator("def simulate(mu, n):\n    return {'y': mu\n")
    result = sbiwb("check", str(project.yaml))
    assert (
        result.exit_code == 2
        and f"{project.folder / 'tiny.py'}:2" in result.stderr
        and "SyntaxError" in result.stderr
    )


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EROFS, "is read-only"),
        (errno.EACCES, "--runs DIR"),
    ],
)
def test_a_disk_that_refuses_ends_with_2(tiny, monkeypatch, number, told):
    project = tiny()
    monkeypatch.setattr(files, "disk", RefusingDisk("write", number, at=5))
    child = project.fork("simulate")
    assert child.wait() == 2 and told in child.output and "Traceback" not in child.output
    monkeypatch.undo()
    assert project.fork("simulate").wait() == 0 and len(project.shards()) == 6


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root to mount a small file system")
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("cannot mount here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tmp_path, small_disk):
    tiny = Tiny.write(tmp_path / "p", {"simulate": {"train": 8192, "shard_size": 1024}})
    where = ("--runs", str(small_disk))
    child = tiny.fork("simulate", *where)
    assert child.wait() == 2, child.output
    assert "The disk is full" in child.output and "nothing already written is lost" in child.output
    done = {path.name for path in (small_disk / "tiny/data/train").glob("*.h5")}
    assert done and not list(small_disk.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    child = tiny.fork("simulate", *where)
    assert child.wait() == 0, child.output
    assert done < {path.name for path in (small_disk / "tiny/data/train").glob("*.h5")}


def test_a_disk_that_cannot_be_written(tmp_path, small_disk):
    tiny = Tiny.write(tmp_path / "p", {})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    child = tiny.fork("simulate", "--runs", str(small_disk))
    assert child.wait() == 2 and "read-only: choose another folder with --runs DIR" in child.output


def test_a_file_where_the_runs_should_be(tiny):
    project = tiny()
    (project.folder / "runs").write_text("")
    child = project.fork("simulate")
    assert child.wait() == 2 and "A file stands where a folder should be" in child.output


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("sbiwb", SBIWB, 1)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment or None,
    )


def test_a_reader_that_leaves_early_is_no_error():
    told = shell("sbiwb schema | head -1")
    assert told.stdout == "{\n" and told.stderr == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams(simulated, closed):
    assert shell(f"sbiwb status {simulated.run} {closed}").returncode == 0


def test_a_bare_environment_in_the_c_locale(simulated):
    told = shell(
        f"sbiwb status {simulated.run}", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert told.returncode == 0 and "train" in told.stdout and told.stderr == ""
    told = shell("sbiwb check é.yaml", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert told.returncode == 2 and "no such file" in told.stderr and "Traceback" not in told.stderr


def test_progress_without_a_terminal_is_plain_lines(tiny):
    child = tiny().fork("simulate")
    assert child.wait() == 0
    assert (
        "simulate  384 of 384 simulations" in child.output
        and "\x1b" not in child.output
        and "\r" not in child.output
    )


def test_the_real_command_takes_its_signals(tmp_path):
    tiny = Tiny.write(tmp_path, {"simulate": {"train": 4096}}, SLOW_SIMULATOR)
    process = subprocess.Popen(
        [SBIWB, *tiny.arguments("simulate")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "simulations in" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 75 and "stopped by SIGTERM" in told


def test_parts_lists_every_part_with_its_options(sbiwb):
    told = sbiwb("parts").stdout
    for name, family in families().items():
        assert name in told.splitlines()
        assert all(re.search(rf"^  {kind} ", told, re.M) for kind in family.names())
    told = sbiwb("parts", "priors", "normal").stdout
    assert re.search(r"scale +1.0 +Standard deviation", told) and "lognormal" not in told


def test_schema_is_written_or_shown(sbiwb, tmp_path):
    import json

    shown = json.loads(sbiwb("schema").stdout)
    assert sbiwb("schema", "s.json").exit_code == 0
    assert (
        json.loads((tmp_path / "s.json").read_text()) == shown and "problem" in shown["properties"]
    )


def test_init_makes_a_project_that_passes_check_and_overwrites_nothing(sbiwb, tmp_path):
    told = sbiwb("init", "mine")
    assert told.exit_code == 0 and "sbiwb run mine.yaml" in told.stdout
    told = sbiwb("check", "mine.yaml", "--set", "machine.threads=1")
    assert (
        told.exit_code == 0
        and "y: float64, 12" in told.stdout
        and "measured: 1 data set" in told.stdout
    )
    (tmp_path / "mine.py").write_text("# changed")
    told = sbiwb("init", "mine")
    assert (
        told.exit_code == 2
        and "exists already" in told.stderr
        and (tmp_path / "mine.py").read_text() == "# changed"
    )


def test_run_does_everything_and_a_second_time_nothing(tiny):
    project = tiny(train={"steps": 20})
    child = project.fork("run")
    assert child.wait() == 0, child.output
    kept = [
        path
        for pattern in ("data/*/*.h5", "train/*", "diagnose/draws/*", "config.yaml")
        for path in project.run.glob(pattern)
    ]
    before = {path: path.stat().st_mtime_ns for path in kept}
    child = project.fork("run")
    assert child.wait() == 0, child.output
    assert before == {path: path.stat().st_mtime_ns for path in kept}
    assert "Training is done already." in child.output and "draw  " not in child.output
    for step in ("1  simulate", "2  train", "3  diagnose", "4  sample"):
        assert step in child.output


def test_report_predict_and_compare_follow_a_run(tmp_path, tiny):
    project = tiny(train={"steps": 20})
    assert project.fork("run").wait() == 0
    told = project.command("predict", "seen", "--draws", "30")
    assert told.returncode == 0 and "30 of 30 simulations from seen" in told.stdout, told.stderr
    assert "30 of 30 simulations from prior" in project.command("predict", "--draws", "30").stdout
    told = project.command("predict", "seen", "--context", "n=3")
    assert told.returncode == 2 and "no context variable 'n'" in told.stderr
    code, heavy, said = loaded_by("report", str(project.run))
    assert code == 0 and "torch" not in heavy and "report.html" in said
    told = shell(f"sbiwb compare {project.run} {project.run} --output {tmp_path / 'compared'}")
    assert (
        told.returncode == 0
        and "not told apart" in told.stdout
        and "NLPD of the same 64 test pairs" in told.stdout
    ), told.stderr
    told = shell(f"sbiwb compare {project.run}")
    assert told.returncode == 2 and "two runs or more" in told.stderr


def test_run_under_a_gate_writes_the_report_before_it_stops(tiny, monkeypatch):
    """Every posterior fails where the tolerance is 0 and any p-value rejects."""
    checks = [{"kind": "coverage", "alpha": 0.5, "tolerance": 0.0}]
    project = tiny(
        train={"steps": 1},
        diagnose={"checks": checks},
        model={"theta": "standardize"},
        simulate={"test": 1024},
    )
    told = project.command("run", "--gate")
    assert told.returncode == 3 and "numbers.json" in told.stderr, told.stdout
    assert "Do not use this posterior yet" in told.stdout
    assert (
        "coverage" in (project.run / "report.html").read_text()
        and not (project.run / "sample").exists()
    )


def test_a_run_folder_stands_for_its_yaml(tmp_path, tiny):
    project = tiny(train={"steps": 20})
    assert project.fork("run").wait() == 0
    (project.folder / "elsewhere").mkdir()
    project.yaml.rename(project.folder / "elsewhere" / "old.yaml")
    told = subprocess.run(
        [SBIWB, "sample", str(project.run), "seen"],
        capture_output=True,
        text=True,
        cwd=project.folder / "elsewhere",
    )
    assert told.returncode == 0, told.stderr
    assert re.search(r"^mu +-?\d", told.stdout, re.M)


SPOILT = {
    "other keys": b"foo: 1\n",
    "not YAML": b"simulate: [\n",
    "a number for a section": b"simulate: 3\n",
    "a word for a number": b"simulate: {train: x, validation: 1, test: 1}\n",
    "not UTF-8": b"name: caf\xe9\n",
    "UTF-16": "name: x".encode("utf-16"),
    "nested too deeply": b"a: " + b"[" * 600,
    "dashes": b"- " * 600 + b"x",
    "empty": b"",
    "a list": b"- a\n- b\n",
    "an integer of 6,000 digits": b"simulate: {train: " + b"9" * 6000 + b"}\n",
}


@pytest.mark.parametrize("verb", ["status", "report", "verify"])
@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_spoilt_config_of_a_run(sbiwb, tmp_path, verb, spoilt):
    (tmp_path / "config.yaml").write_bytes(SPOILT[spoilt])
    result = sbiwb(verb, str(tmp_path))
    assert result.exit_code == 2, result.output
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error  {tmp_path / 'config.yaml'}  is not the config of a run")
    assert second.strip() == "Run `sbiwb simulate` on your own YAML: it writes it anew."


def test_on_a_terminal_training_shows_a_bar_and_a_table_of_numbers(tiny):
    project = tiny()
    assert project.command("simulate").returncode == 0
    shown, code = on_a_terminal([SBIWB, *project.arguments("train")], project.folder)
    assert code == 0, shown
    for word in ("train", "60/60", "validation", "gradient", "pairs/s", "Stopped at step 60"):
        assert word in shown


def on_a_terminal(command: list[str], folder) -> tuple[str, int]:
    """What a command writes to a terminal of 120 columns, and its exit code."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 120))
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while piece := os.read(master, 4096):
            shown += piece
    os.close(master)
    return shown.decode(), process.wait()
