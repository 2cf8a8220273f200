"""YAML text as plain data with the place of every key; YAML 1.2 numbers, no duplicate keys, no alias bombs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sbiwb.errors import ConfigError

Place = tuple[str | int, ...]
MAX_BYTES, MAX_NODES = 1 << 20, 100_000


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2: `1e-3` is a number, `no` and `12:30` are words, `010` is ten."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the base class declares it so)


class Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes what is a number to `_Loader` alone, such as the text `1e5`."""

    yaml_implicit_resolvers = {
        first: list(known) for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }  # noqa: RUF012


_SCALARS = {
    "null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "int": (r"^[-+]?[0-9][0-9_]*$", list("-+0123456789")),
    "float": (
        r"^[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.inf|\.Inf|\.INF)$|^\.(?:nan|NaN|NAN)$",
        list("-+.0123456789"),
    ),
    "merge": (r"^<<$", ["<"]),
}
for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", ""))
)
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _float(node.value))


def _float(text: str) -> float:
    return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


@dataclass
class Document:
    """One YAML file, read.

    Args:
        path: Where it lies.
        data: Its content as dicts, lists and scalars.
        places: `file:line:column` of every key and item.
    """

    path: Path
    data: dict[str, Any]
    places: dict[Place, str] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """The nearest known place at or above `place`."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.places:
                return self.places[place[:length]]
        return str(self.path)

    def override(self, settings: list[str]) -> None:
        """Applies `--set key.sub=value` in order.

        Raises:
            ConfigError: No `=`, or a path through something that is not a section.
        """
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals or not key:
                raise ConfigError(
                    "is not KEY=VALUE",
                    where=f"--set {setting}",
                    todo="For example --set train.batch_size=512",
                )
            steps = tuple(int(step) if step.isdecimal() else step for step in key.split("."))
            try:
                value, _ = _parse(f"--set {key}", text)
            except ConfigError as error:
                raise ConfigError(
                    f"the value: {error.what}",
                    where=f"--set {setting}",
                    todo="Quote it for the shell.",
                ) from error
            _assign(self.data, steps, value, f"--set {setting}")
            self.places[steps] = f"--set {key}"


def _assign(data: Any, steps: Place, value: Any, where: str) -> None:
    for position, step in enumerate(steps[:-1]):
        data = _descend(data, step)
        if not isinstance(data, dict | list):
            reached = ".".join(map(str, steps[: position + 1]))
            raise ConfigError(
                f"{reached} is not a section",
                where=where,
                todo="Set the whole value with {key: value}.",
            )
    last = steps[-1]
    if isinstance(data, list) and (not isinstance(last, int) or last >= len(data)):
        raise ConfigError(
            f"the list has items 0 to {len(data) - 1}", where=where, todo="Set the whole list."
        )
    data[last] = value


def _descend(data: Any, step: str | int) -> Any:
    if isinstance(data, list):
        return data[step] if isinstance(step, int) and step < len(data) else None
    if data.get(step) is None:
        data[step] = {}
    return data[step]


def read(path: Path) -> Document:
    """Reads one YAML file.

    Raises:
        ConfigError: Missing, unreadable, not UTF-8, not YAML, too large, a key given twice, a recursive alias.
    """
    data, places = _parse(path, _text(path))
    if data is None:
        raise ConfigError(
            "the file is empty", where=path, todo="`sbiwb init NAME` makes a project to start from."
        )
    if not isinstance(data, dict):
        raise ConfigError(
            "the top level is not a mapping",
            where=f"{path}:1:1",
            todo="Begin with a line such as `name: my_problem`.",
        )
    return Document(path, data, places)


def _parse(path: Path | str, text: str) -> tuple[Any, dict[Place, str]]:
    """The value of one YAML text, and its places."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        places = dict(_walk(path, node)) if node is not None else {}
        return (loader.construct_document(node) if node is not None else None), places
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        raise ConfigError(
            f"not YAML: {error.problem or error.context}",
            where=where,
            todo="Indent with spaces, not tabs."
            if "\\t" in str(error.problem)
            else "Check indentation, quotes and colons.",
        ) from error
    except RecursionError as error:
        raise ConfigError(
            "is nested too deeply", where=path, todo="A config has a handful of levels."
        ) from error
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # PyYAML's own, for odd tags and characters
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"not YAML: {what}", where=path, todo="Check the characters in the file."
        ) from error


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            "no such file", where=path, todo="`sbiwb init NAME` makes a project to start from."
        ) from error
    except OSError as error:
        raise ConfigError(
            error.strerror or "cannot be read", where=path, todo="Name a YAML file."
        ) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"is larger than {MAX_BYTES} bytes",
            where=path,
            todo="A config is a short text; keep data in files of their own.",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"not UTF-8 ({error.reason})", where=f"{path}:{line}", todo="Save the file as UTF-8."
        ) from error


def _walk(path: Path | str, root: yaml.Node) -> Iterator[tuple[Place, str]]:
    """(place, file:line:column) of every node; refuses duplicate keys and runaway aliases."""
    stack: list[tuple[yaml.Node, Place, yaml.Mark, tuple[int, ...]]] = [
        (root, (), root.start_mark, ())
    ]
    count = 0
    while stack:
        node, place, mark, above = stack.pop()
        count += 1
        spot = f"{path}:{mark.line + 1}:{mark.column + 1}"
        if count > MAX_NODES:
            raise ConfigError(
                f"more than {MAX_NODES} values",
                where=spot,
                todo="Aliases that multiply are refused; write the values out.",
            )
        if id(node) in above:
            raise ConfigError(
                "an alias that contains itself", where=spot, todo="Write the value out."
            )
        yield place, spot
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_duplicates(path, node, place)
            stack += [
                (value, (*place, key.value), key.start_mark, inside) for key, value in node.value
            ]
        elif isinstance(node, yaml.SequenceNode):
            stack += [
                (item, (*place, index), item.start_mark, inside)
                for index, item in enumerate(node.value)
            ]


def _refuse_duplicates(path: Path | str, node: yaml.MappingNode, place: Place) -> None:
    seen: dict[str, yaml.Mark] = {}
    for key, _ in node.value:
        name, mark = key.value, key.start_mark
        if not isinstance(name, str):
            raise ConfigError(
                "a key must be a word",
                where=f"{path}:{mark.line + 1}:{mark.column + 1}",
                todo="Quote it.",
            )
        if name in seen:
            raise ConfigError(
                f"{'.'.join(map(str, (*place, name)))} is given twice (first in line {seen[name].line + 1})",
                where=f"{path}:{mark.line + 1}:{mark.column + 1}",
                todo="Keep one of them.",
            )
        seen[name] = mark
