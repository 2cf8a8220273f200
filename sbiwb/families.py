"""Families: folders of interchangeable parts. The file name is the `kind`; nothing is registered by hand."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema


class Options(BaseModel):
    """Typed options: unknown keys refused with the nearest known one, frozen, no silent conversion, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_near_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            details = [_detail(cls, problem) for problem in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, details) from None


def _detail(model: type[BaseModel], problem: Any) -> InitErrorDetails:
    """The problem as it was, except that an unknown key of `model` itself names the known ones."""
    detail: InitErrorDetails = {
        "type": problem["type"],
        "loc": problem["loc"],
        "input": problem["input"],
        "ctx": problem.get("ctx", {}),
    }
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        known = [field.alias or name for name, field in model.model_fields.items()]
        near = difflib.get_close_matches(str(problem["loc"][0]), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
        detail["type"] = PydanticCustomError("unknown_key", "unknown key; {hint}", {"hint": hint})
    elif not _is_builtin(problem["type"]):
        detail["type"] = PydanticCustomError(
            problem["type"], _escaped(problem["msg"]), problem.get("ctx")
        )
    return detail


def _is_builtin(kind: str) -> bool:
    return kind in _BUILTIN


def _escaped(message: str) -> Any:
    """A finished message as a template that says just that."""
    return message.replace("{", "(").replace("}", ")")


_BUILTIN = frozenset(get_args(core_schema.ErrorType))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole)]
"""A whole number that may be written 1e5."""


class Part(Options):
    """Options of one part; a concrete `Config` adds its fields and `build`."""

    kind: str = Field(
        "", description="Name of the part: a file of its family, or a path to a Python file."
    )


P = TypeVar("P", bound=Part)


class Family(Generic[P]):
    """All parts in one package, found by file name without importing them.

    Args:
        package: Dotted name of the folder, such as `sbiwb.priors`.
        noun: What one part is called in messages.
        base: What the `Config` of every part derives from; it states how a part is built and what it can do.
        default: Kind that is meant where only options are given.
        functions: Functions that a part's file defines beside its `Config`, each as `name(arguments)`.

    Example:
        >>> from sbiwb.contracts import PriorPart
        >>> family = Family("sbiwb.priors", "prior", PriorPart)
        >>> family.parse({"kind": "normal", "loc": 0, "scale": 1}).kind
        'normal'
    """

    def __init__(
        self,
        package: str,
        noun: str,
        base: type[P],
        *,
        default: str | None = None,
        functions: Sequence[str] = (),
    ) -> None:
        self.package, self.noun, self.base = package, noun, base
        self.default, self.functions = default, tuple(functions)

    def names(self) -> list[str]:
        """Kinds that ship with the package, in alphabetical order."""
        folder = importlib.import_module(self.package).__path__
        return sorted(
            found.name for found in pkgutil.iter_modules(folder) if not found.name.startswith("_")
        )

    def module(self, kind: str) -> ModuleType:
        """The module of a kind; a kind ending in `.py` is a path."""
        return (
            _load_file(Path(kind))
            if kind.endswith(".py")
            else importlib.import_module(f"{self.package}.{kind}")
        )

    def config(self, kind: str) -> type[P]:
        """The `Config` class of a kind.

        Raises:
            PydanticCustomError: The part has none, or forgets something that its family needs.
        """
        module = self.module(kind)
        config = vars(module).get("Config")
        if config is None:
            raise PydanticCustomError(
                "no_config", "'{kind}' defines no class Config", {"kind": kind}
            )
        problem = self._derivation_problem(config) or self._missing(module, config)
        if problem:
            raise PydanticCustomError(
                "incomplete_part", "'{kind}': {problem}", {"kind": kind, "problem": problem}
            )
        return config

    def _derivation_problem(self, config: object) -> str | None:
        if isinstance(config, type) and issubclass(config, self.base):
            return None
        base = self.base
        return f"write class Config({base.__name__}), from {base.__module__}"

    def _missing(self, module: ModuleType, config: type[P]) -> str | None:
        """What the part forgets: a method that its base leaves open, or a function."""
        for name in sorted(self.base.__abstractmethods__):
            wanted = inspect.signature(getattr(self.base, name))
            if name in config.__abstractmethods__:
                return f"its Config defines no {name}{_arguments(wanted)}"
            if not _takes_as_many(inspect.signature(getattr(config, name)), wanted):
                return f"its Config defines another {name} than {name}{_arguments(wanted)}"
        for function in self.functions:
            if not callable(vars(module).get(function.partition("(")[0])):
                return f"it defines no function {function}"
        return None

    def parse(self, value: Any, folder: Path | None = None) -> P:
        """Reads `kind` or `{kind: ..., option: ...}` into the part's own `Config`; a path is relative to `folder`."""
        if isinstance(value, self.base):
            return value
        options = {"kind": value} if isinstance(value, str) else value
        if not isinstance(options, dict):
            raise PydanticCustomError(
                "part",
                "expected the name of a {noun} or a mapping with 'kind'",
                {"noun": self.noun},
            )
        kind = self._checked(options.get("kind", self.default), folder)
        return self.config(kind).model_validate(
            {**options, "kind": kind}, context={"folder": folder}
        )

    def _checked(self, kind: Any, folder: Path | None) -> str:
        if isinstance(kind, str) and kind.endswith(".py"):
            return _existing((folder or Path()) / kind)
        names = self.names()
        if kind is None:
            raise PydanticCustomError(
                "missing_kind",
                "a {noun} needs 'kind'; one of {names}",
                {"noun": self.noun, "names": ", ".join(names)},
            )
        if kind not in names:
            near = difflib.get_close_matches(str(kind), names, 1)
            raise PydanticCustomError(
                "unknown_kind",
                "unknown {noun} '{kind}'{hint}; one of {names}",
                {
                    "noun": self.noun,
                    "kind": str(kind),
                    "hint": f", did you mean '{near[0]}'?" if near else "",
                    "names": ", ".join(names),
                },
            )
        return kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            lambda value, info: self.parse(value, (info.context or {}).get("folder")),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda part: part.model_dump(mode="json")
            ),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Every kind with its options; a bare name is accepted where no option is required."""
        choices = []
        for name in self.names():
            options = self.config(name).model_json_schema()
            options["properties"]["kind"] = {
                "const": name,
                "description": (self.module(name).__doc__ or "").strip().split("\n")[0],
            }
            options.pop("title", None)
            if name != self.default:
                options.setdefault("required", []).append("kind")
            choices.append(options)
        return {
            "anyOf": [{"type": "string", "enum": self.names()}, *choices],
            "description": f"A {self.noun}.",
        }


def _arguments(signature: inspect.Signature) -> str:
    """`(features, context)`, without `self`."""
    return f"({', '.join(name for name in signature.parameters if name != 'self')})"


def _takes_as_many(signature: inspect.Signature, wanted: inspect.Signature) -> bool:
    """Whether it can be called with the arguments that are wanted, by position."""
    try:
        signature.bind(*wanted.parameters)
    except TypeError:
        return False
    return True


def _existing(path: Path) -> str:
    """The full path of a part's file."""
    if not path.is_file():
        raise PydanticCustomError("no_part_file", "no such file: {path}", {"path": str(path)})
    return str(path.resolve())


def map_files(value: Any, change: Callable[[str], str]) -> Any:
    """Plain data with `change` applied to every `kind` that is a Python file."""
    if isinstance(value, list):
        return [map_files(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    is_file = isinstance(value.get("kind"), str) and value["kind"].endswith(".py")
    return {
        key: change(item) if is_file and key == "kind" else map_files(item, change)
        for key, item in value.items()
    }


def _load_file(path: Path) -> ModuleType:
    """Imports a part outside the package once, under a name made from its content."""
    path = path.resolve()
    name = f"sbiwb_part_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise PydanticCustomError(
                "broken_part",
                "'{path}' cannot be imported: {error}",
                {
                    "path": str(path),
                    "error": f"{type(error).__name__}: {error}{_line(error, path)}",
                },
            ) from error
    return sys.modules[name]


def _line(error: BaseException, path: Path) -> str:
    """` (line 3)` of the part's file, where its traceback says so; a syntax error says it itself."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path
    ]
    return f" (line {lines[-1]})" if lines else ""


def describe(family: Family[P]) -> Sequence[tuple[str, str, type[P]]]:
    """(kind, first sentence of its file, Config) of every part, for `sbiwb parts`."""
    return [
        (name, (family.module(name).__doc__ or "").strip().split("\n")[0], family.config(name))
        for name in family.names()
    ]
