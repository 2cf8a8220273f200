"""The verb `guide`: every chapter is listed, shipped, and whole on a terminal of 80 columns."""

from __future__ import annotations

import io
import re
import tomllib
from collections import Counter
from importlib.resources import files

import pytest
from rich.console import Console
from rich.markdown import Markdown
from typer.testing import CliRunner

from sbiwb.cli import show_guide
from sbiwb.cli.app import app
from sbiwb.workflow.guide import FIRST, chapters
from tests.guide.texts import CHAPTERS, MARKDOWN, README, REPOSITORY

COLUMNS = 80
TOPICS = [path.stem for path in CHAPTERS]


def guide(*arguments: str):
    return CliRunner().invoke(app, ["guide", *arguments])


def rendered(page: Markdown, width: int = COLUMNS) -> list[str]:
    """The lines that a terminal shows."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(page)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def said(text: str) -> Counter[str]:
    """The words of a text, by how often they stand there, without its blocks of code."""
    inline = [token for token in MARKDOWN.parse(text) if token.type == "inline"]
    parts = [
        "".join(" " if child.type == "softbreak" else child.content for child in token.children)
        for token in inline
    ]
    return Counter(word for part in parts for word in part.split())


def cut(text: str, page: Markdown) -> set[str]:
    """Words and lines of code of a text that are not whole in its rendering."""
    lines = rendered(page)
    shown = Counter(word for line in lines for word in line.split())
    code = [token.content for token in MARKDOWN.parse(text) if token.type == "fence"]
    wanted = {line.rstrip() for block in code for line in block.splitlines()}
    return set(said(text) - shown) | (wanted - {line[1:] for line in lines})


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_whole_on_a_narrow_terminal(path):
    text = path.read_text()
    page = show_guide.Page(text)
    assert max(map(len, rendered(page))) <= COLUMNS
    assert cut(text, page) == set()
    assert text.count("\n") <= 120 and re.match(r"# \w+: \S", text)
    assert rendered(page, 40)


def test_what_is_cut_is_found():
    text = "| a | b | c |\n|---|---|---|\n| x | " + "y" * 50 + " | " + "z" * 50 + " |\n"
    assert cut(text, Markdown(text)) == {"y" * 50, "z" * 50}
    assert cut(text, show_guide.Page(text)) == set()  # the last column stands below
    line = "sbiwb run a.yaml " + "--set a.b=c " * 6
    assert cut(f"```\n{line}\n```\n", show_guide.Page(f"```\n{line}\n```\n")) == {line.rstrip()}


def test_columns_without_room_stand_below_after_the_first_one():
    long = "y" * 50
    lines = rendered(show_guide.Page(f"| a | b | c |\n|---|---|---|\n| x | {long} | {long} |\n"))
    assert [line.split() for line in lines if "a" in line] == [["a", "b"], ["a", "c"]]
    assert [line.split() for line in lines if "y" in line] == [["x", long]] * 2


def test_the_list_names_every_chapter_with_what_to_type():
    told = guide()
    assert told.exit_code == 0 and max(map(len, told.stdout.splitlines())) <= COLUMNS
    for topic in TOPICS:
        assert re.search(rf"^  sbiwb guide {topic} +\w", told.stdout, re.M), topic
    assert set(FIRST) == set(TOPICS)


@pytest.mark.parametrize("arguments", [("exact",), ("exact", "--plain"), ("Exact",)])
def test_a_pipe_gets_the_markdown_as_it_is(arguments):
    told = guide(*arguments)
    assert (told.exit_code, told.stdout) == (0, (CHAPTERS[0].parent / "exact.md").read_text())


def test_a_terminal_gets_it_rendered_unless_plain_is_asked_for(monkeypatch):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, soft_wrap=True)
    monkeypatch.setattr(show_guide, "out", console)
    assert guide("exact").exit_code == 0
    shown = console.file.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert "\x1b" in shown and "```" not in plain and "Refined draws" in plain
    assert max(map(len, plain.splitlines())) <= show_guide.MAX_WIDTH
    told = guide("exact", "--plain")
    assert "```" in told.stdout and console.file.getvalue() == shown


UNKNOWN = [
    ("likelihood", "Did you mean likelihoods? One of: simulators, "),
    ("slurm", "The word stands in clusters"),
    ("qqqq", "One of: simulators, "),
]


@pytest.mark.parametrize(("topic", "todo"), UNKNOWN)
def test_a_chapter_that_there_is_not(topic, todo):
    told = guide(topic)
    first, second = told.stderr.splitlines()[:2]
    assert (told.exit_code, told.stdout) == (2, "")
    assert first == f"error  sbiwb guide  no chapter '{topic}'"
    assert second.strip().startswith(todo)


def test_chapters_are_shipped():
    shipped = {file.name for file in files("sbiwb").joinpath("guide").iterdir()}
    assert shipped == {f"{topic}.md" for topic in TOPICS} == {f"{c.topic}.md" for c in chapters()}
    hatch = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert hatch["targets"]["wheel"] == {"packages": ["sbiwb"]}  # whole, but for what git ignores
    assert ".md" not in (REPOSITORY / ".gitignore").read_text()


def test_readme_and_chapters_do_not_say_the_same():
    """A paragraph stands at one place."""
    texts = [path.read_text() for path in (README, *CHAPTERS)]
    lines = Counter(line.strip() for text in texts for line in text.splitlines() if len(line) > 60)
    assert [line for line, times in lines.items() if times > 1] == []
