"""README and the chapters of the guide as what they show to type: fenced blocks, and code in the
text."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
CHAPTERS = sorted((REPOSITORY / "sbiwb" / "guide").glob("*.md"))
PAGES = [README, *CHAPTERS]
MARKDOWN = MarkdownIt().enable("table")
ENDS = {";", "|", "||", "&", "&&", ">", "(", ")"}


@dataclass(frozen=True)
class Snippet:
    """What a page shows: `language` is that of a fenced block, or `span` for code in the text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def tokens(path: Path) -> list[Token]:
    return MARKDOWN.parse(path.read_text(encoding="utf-8"))


def blocks(path: Path) -> list[Snippet]:
    """The fenced blocks of a page, in order."""
    return [
        Snippet(path.name, token.map[0] + 1, token.info or "shell", token.content)
        for token in tokens(path)
        if token.type == "fence" and token.map is not None
    ]


def spans(path: Path) -> list[Snippet]:
    """Code in its text."""
    line, found = 0, []
    for token in tokens(path):
        line = token.map[0] + 1 if token.map else line
        for child in token.children or ():
            if child.type == "code_inline":
                found.append(Snippet(path.name, line, "span", child.content))
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
SPANS = [span for page in PAGES for span in spans(page)]


def of(language: str) -> list[Snippet]:
    return [block for block in BLOCKS if block.language == language]


def words(line: str) -> list[str]:
    """A line of a shell, without its comment; operators are words of their own."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def arguments(line: str, command: str = "sbiwb") -> list[str] | None:
    """The arguments of a command in a line; None where it does not stand there."""
    if not re.search(rf"(^|\s){command}(\s|$)", line):
        return None
    said = words(line)
    if command not in said:
        return None  # in a comment
    rest = said[said.index(command) + 1 :]
    ends = [place for place, word in enumerate(rest) if word in ENDS]
    return rest[: min(ends, default=len(rest))]


def commands(command: str = "sbiwb") -> list[tuple[Snippet, list[str]]]:
    """Every call of a command: lines of shell blocks, and code in the text that begins with it."""
    lines = [
        Snippet(block.page, block.line + number, "shell", line)
        for block in of("shell")
        for number, line in enumerate(block.text.splitlines(), 1)
    ]
    lines += [span for span in SPANS if re.search(rf"(^|[ ]){command} ", span.text)]
    found = [(line, arguments(line.text, command)) for line in lines]
    return [(line, said) for line, said in found if said]
