"""YAML text as plain data with the place of every key; YAML 1.2 numbers, no duplicate keys, no
alias bombs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sbiwb.errors import ConfigError, RunError

Place = tuple[str | int, ...]
Places = dict[Place, str]
MAX_BYTES, MAX_NODES = 1 << 20, 100_000
MAX_DIGITS = 9  # of an index
PARTS = {  # keys of parts, or of lists and mappings of parts
    *("executor", "inference", "uncertainty", "fusion", "summary"),
    *("parameters", "checks", "transforms", "tracking"),
}
INIT = "`sbiwb init NAME` makes a project to start from."


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2: `1e-3` is a number, `no` and `12:30` are words,
    `010` is ten.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the base class declares it so)


class Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes what is a number to `_Loader` alone, such as the text `1e5`."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as above)
        first: list(resolvers)
        for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


_FLOAT = (
    r"^[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.inf|\.Inf|\.INF)$"
    r"|^\.(?:nan|NaN|NAN)$"
)
_SCALARS = {
    "null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "int": (r"^[-+]?[0-9][0-9_]*$", list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
    "merge": (r"^<<$", ["<"]),
}
for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value.replace("_", ""))


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = node.value.lower().replace("_", "")
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


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
    places: Places = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """The nearest known place at or above `place`."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.places:
                return self.places[place[:length]]
        return str(self.path)

    def override(self, settings: Sequence[str]) -> None:
        """Applies `--set key.sub=value` in order.

        Raises:
            ConfigError: No `=`, or a path through something that is not a section.
        """
        for setting in settings:
            key, equals, text = setting.partition("=")
            where = f"--set {setting}"
            if not equals or not key:
                example = "For example --set train.batch_size=512"
                raise ConfigError("is not KEY=VALUE", where=where, todo=example)
            steps = tuple(map(_step, key.split(".")))
            try:
                value, _ = _parse(f"--set {key}", text)
            except ConfigError as error:
                todo = "Quote it for the shell."
                raise ConfigError(f"the value: {error.what}", where=where, todo=todo) from error
            _assign(self.data, steps, value, where)
            self.places[steps] = f"--set {key}"


def _step(text: str) -> str | int:
    """A key, or an index in a list."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else text


def _assign(data: Any, steps: Place, value: object, where: str) -> None:
    for position in range(1, len(steps)):
        data = _descend(data, steps[:position])
        if not isinstance(data, dict | list):
            reached = ".".join(map(str, steps[:position]))
            todo = "Set the whole value with {key: value}."
            raise ConfigError(f"{reached} is not a section", where=where, todo=todo)
    last = steps[-1]
    if isinstance(data, list) and (not isinstance(last, int) or last >= len(data)):
        what = f"the list has items 0 to {len(data) - 1}"
        raise ConfigError(what, where=where, todo="Set the whole list.")
    data[last] = value


def _descend(data: Any, steps: Place) -> Any:
    """The section or list below, at the last of the steps.

    An absent section begins empty, and the bare name of a part becomes its `kind`, beside which its
    options can stand.
    """
    step = steps[-1]
    if isinstance(data, list) and not (isinstance(step, int) and step < len(data)):
        return None
    if isinstance(data, dict) and data.get(step) is None:
        data[step] = {}
    if isinstance(data[step], str) and not PARTS.isdisjoint(steps):
        data[step] = {"kind": data[step]}
    return data[step]


def read(path: Path) -> Document:
    """Reads one YAML file.

    Raises:
        ConfigError: Missing, unreadable, not UTF-8, not YAML, too large, a key given twice, a
            recursive alias.
    """
    data, places = _parse(path, _text(path))
    if data is None:
        raise ConfigError("the file is empty", where=path, todo=INIT)
    if not isinstance(data, dict):
        todo = "Begin with a line such as `name: my_problem`."
        raise ConfigError("the top level is not a mapping", where=f"{path}:1:1", todo=todo)
    return Document(path, data, places)


def read_run_config(path: Path) -> dict[str, Any]:
    """The `config.yaml` of a run folder as plain data, for verbs that show it and check nothing.

    Returns:
        Its sections, of which `simulate`, `problem` and `problem.parameters` are mappings.

    Raises:
        RunError: It is not one that sbiwb wrote.
    """
    try:
        data = read(path).data
    except ConfigError as error:
        raise _no_config(path, f" ({error.what})") from error
    problem = data.get("problem")
    parameters = problem.get("parameters") if isinstance(problem, dict) else None
    if not isinstance(parameters, dict) or not isinstance(data.get("simulate"), dict):
        raise _no_config(path)
    if not all(isinstance(part, dict) for part in parameters.values()):
        raise _no_config(path)
    return data


def _no_config(path: Path, why: str = "") -> RunError:
    return RunError(
        f"is not the config of a run{why}",
        where=path,
        todo="Run `sbiwb simulate` on your own YAML: it writes it anew.",
    )


def _parse(path: Path | str, text: str) -> tuple[Any, Places]:
    """The value of one YAML text, and its places."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        places = dict(_walk(path, node))
        return loader.construct_document(node), places
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, path) from error
    except RecursionError as error:
        todo = "A config has a handful of levels."
        raise ConfigError("is nested too deeply", where=path, todo=todo) from error
    # PyYAML's own, for odd tags and characters
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = (str(error) or type(error).__name__).splitlines()[0]
        todo = "Check the characters in the file."
        raise ConfigError(f"not YAML: {what}", where=path, todo=todo) from error


def _not_yaml(error: yaml.MarkedYAMLError, path: Path | str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    where = path if mark is None else _spot(path, mark)
    todo = "Check indentation, quotes and colons."
    if "\\t" in str(error.problem):
        todo = "Indent with spaces, not tabs."
    return ConfigError(f"not YAML: {error.problem or error.context}", where=where, todo=todo)


def _spot(path: Path | str, mark: yaml.Mark) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}"


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=path, todo=INIT) from error
    except OSError as error:
        what = error.strerror or "cannot be read"
        raise ConfigError(what, where=path, todo="Name a YAML file.") from error
    if len(raw) > MAX_BYTES:
        todo = "A config is a short text; keep data in files of their own."
        raise ConfigError(f"is larger than {MAX_BYTES} bytes", where=path, todo=todo)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        what, todo = f"not UTF-8 ({error.reason})", "Save the file as UTF-8."
        raise ConfigError(what, where=f"{path}:{line}", todo=todo) from error


@dataclass(frozen=True)
class _Spot:
    """A node that is still to be looked at.

    Args:
        node: Itself.
        place: Its keys and indices from the top.
        mark: Where its key stands.
        above: The nodes it is in.
    """

    node: yaml.Node
    place: Place
    mark: yaml.Mark
    above: tuple[int, ...] = ()

    def below(self, node: yaml.Node, step: str | int, mark: yaml.Mark) -> _Spot:
        """A node in this one."""
        return _Spot(node, (*self.place, step), mark, (*self.above, id(self.node)))


def _walk(path: Path | str, root: yaml.Node) -> Iterator[tuple[Place, str]]:
    """(place, file:line:column) of every node; refuses duplicate keys and runaway aliases."""
    stack = [_Spot(root, (), root.start_mark)]
    count = 0
    while stack:
        spot = stack.pop()
        where = _spot(path, spot.mark)
        count += 1
        if count > MAX_NODES:
            todo = "Aliases that multiply are refused; write the values out."
            raise ConfigError(f"more than {MAX_NODES} values", where=where, todo=todo)
        if id(spot.node) in spot.above:
            todo = "Write the value out."
            raise ConfigError("an alias that contains itself", where=where, todo=todo)
        yield spot.place, where
        if isinstance(spot.node, yaml.MappingNode):
            _refuse_duplicates(path, spot.node, spot.place)
            for key, value in spot.node.value:
                stack.append(spot.below(value, key.value, key.start_mark))
        elif isinstance(spot.node, yaml.SequenceNode):
            for index, item in enumerate(spot.node.value):
                stack.append(spot.below(item, index, item.start_mark))


def _refuse_duplicates(path: Path | str, node: yaml.MappingNode, place: Place) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name, where = key.value, _spot(path, key.start_mark)
        if not isinstance(name, str):
            raise ConfigError("a key must be a word", where=where, todo="Quote it.")
        if name in lines:
            twice = f"{'.'.join(map(str, (*place, name)))} is given twice"
            first = f"first in line {lines[name]}"
            raise ConfigError(f"{twice} ({first})", where=where, todo="Keep one of them.")
        lines[name] = key.start_mark.line + 1
