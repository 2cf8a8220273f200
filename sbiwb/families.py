"""Families: folders of interchangeable parts. The file name is the `kind`; nothing is registered by
hand.
"""

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
from typing import (
    Annotated,
    Any,
    Generic,
    Self,
    TypeVar,
    get_args,
)

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema


class Options(BaseModel):
    """Typed options: unknown keys refused with the nearest known one, frozen, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_near_keys(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            details = [_detail(cls, problem) for problem in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, details) from None


_BUILTIN = frozenset(
    get_args(core_schema.ErrorType)
)  # kinds of problems that pydantic words itself


def _detail(model: type[BaseModel], problem: ErrorDetails) -> InitErrorDetails:
    """The problem as it was, except that an unknown key of `model` itself names the known ones."""
    context = problem.get("ctx", {})
    kind: str | PydanticCustomError = problem["type"]
    if kind == "extra_forbidden" and len(problem["loc"]) == 1:
        kind = _unknown_key(str(problem["loc"][0]), model)
    elif kind not in _BUILTIN:
        kind = _finished(problem["type"], problem["msg"], context)
    return {"type": kind, "loc": problem["loc"], "input": problem["input"], "ctx": context}


def _unknown_key(key: str, model: type[BaseModel]) -> PydanticCustomError:
    keys = [field.alias or name for name, field in model.model_fields.items()]
    near = difflib.get_close_matches(key, keys, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(keys)}"
    return PydanticCustomError("unknown_key", "unknown key; {hint}", {"hint": hint})


def _finished(kind: str, message: str, context: dict[str, object]) -> PydanticCustomError:
    """A finished message as a template that says just that."""
    template = message.replace("{", "(").replace("}", ")")
    return PydanticCustomError(kind, template, context)


def _to_whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


MAX_COUNT = 1_000_000_000
MAX_SEED = 2**63 - 1
WHOLE = BeforeValidator(_to_whole)
"""Stands last in the annotation of a whole number that may be written 1e5."""

Count = Annotated[int, Field(le=MAX_COUNT), WHOLE]
"""A number of things; of things that take memory, the field itself names a lower bound."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE]
"""Root of random numbers."""


def check_ordered(
    low: float | None, high: float | None, todo: str = "exchange them or mend one"
) -> None:
    """Refuses a lower bound that is not below the upper one, in a validator; None is no bound."""
    if low is not None and high is not None and not low < high:
        raise PydanticCustomError(
            "bounds",
            "low = {low} is not below high = {high}: {todo}",
            {"low": low, "high": high, "todo": todo},
        )


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
        base: What the `Config` of every part derives from; it states how a part is built and what
            it can do.
        default: Kind that is meant where only options are given.
        functions: Functions that a part's file defines beside its `Config`, each as
            `name(arguments)`.

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
        names = [module.name for module in pkgutil.iter_modules(folder)]
        return sorted(name for name in names if not name.startswith("_"))

    def module(self, kind: str) -> ModuleType:
        """The module of a kind; a kind ending in `.py` is a path."""
        if kind.endswith(".py"):
            return _load_file(Path(kind))
        return importlib.import_module(f"{self.package}.{kind}")

    def sentence(self, kind: str) -> str:
        """The first sentence of a part's file, on one line."""
        text = inspect.cleandoc(self.module(kind).__doc__ or "")
        return " ".join(text.partition("\n\n")[0].split())

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
            if not _takes(getattr(config, name), list(wanted.parameters)):
                return f"its Config defines another {name} than {name}{_arguments(wanted)}"
        for function in self.functions:
            name, _, arguments = function.rstrip(")").partition("(")
            defined = vars(module).get(name)
            if not callable(defined):
                return f"it defines no function {function}"
            if not _takes(defined, arguments.split(", ")):
                return f"it defines another function {name} than {function}"
        return None

    def parse(self, value: object, folder: Path | None = None) -> P:
        """Reads `kind` or `{kind: ..., option: ...}` into the part's own `Config`.

        Args:
            value: As it stands in the YAML.
            folder: What a kind that is a path is relative to.
        """
        if isinstance(value, self.base):
            return value
        options = {"kind": value} if isinstance(value, str) else value
        if not isinstance(options, dict):
            message = "expected the name of a {noun} or a mapping with 'kind'"
            raise PydanticCustomError("part", message, {"noun": self.noun})
        kind = self._checked(options.get("kind", self.default), folder)
        options = {**options, "kind": kind}
        return self.config(kind).model_validate(options, context={"folder": folder})

    def _checked(self, kind: object, folder: Path | None) -> str:
        """A kind that there is; a path in full."""
        if isinstance(kind, str) and kind.endswith(".py"):
            return _existing((folder or Path()) / kind)
        names = self.names()
        facts = {"noun": self.noun, "names": ", ".join(names)}
        if kind is None:
            message = "a {noun} needs 'kind'; one of {names}"
            raise PydanticCustomError("missing_kind", message, facts)
        if not isinstance(kind, str) or kind not in names:
            near = difflib.get_close_matches(str(kind), names, 1)
            facts["kind"] = str(kind)
            facts["hint"] = f", did you mean '{near[0]}'?" if near else ""
            message = "unknown {noun} '{kind}'{hint}; one of {names}"
            raise PydanticCustomError("unknown_kind", message, facts)
        return kind

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            lambda value, info: self.parse(value, (info.context or {}).get("folder")),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda part, info: part.model_dump(mode="json", exclude_unset=info.exclude_unset),
                info_arg=True,
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Every kind with its options; a bare name is accepted where no option is required."""
        names = self.names()
        choices = [{"type": "string", "enum": names}, *map(self._json_schema, names)]
        return {"anyOf": choices, "description": f"A {self.noun}."}

    def _json_schema(self, kind: str) -> JsonSchemaValue:
        """The options of one kind."""
        schema = self.config(kind).model_json_schema()
        schema["properties"]["kind"] = {"const": kind, "description": self.sentence(kind)}
        schema.pop("title", None)
        if kind != self.default:
            schema.setdefault("required", []).append("kind")
        return schema


def _arguments(signature: inspect.Signature) -> str:
    """`(features, context)`, without `self`."""
    names = [name for name in signature.parameters if name != "self"]
    return f"({', '.join(names)})"


def _takes(function: Callable[..., object], arguments: Sequence[str]) -> bool:
    """Whether it can be called with as many arguments, by position."""
    try:
        inspect.signature(function).bind(*arguments)
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
    changed = {key: map_files(item, change) for key, item in value.items()}
    kind = value.get("kind")
    if isinstance(kind, str) and kind.endswith(".py"):
        changed["kind"] = change(kind)
    return changed


def _load_file(path: Path) -> ModuleType:
    """Imports a part outside the package once, under a name made from its content."""
    path = path.resolve()
    name = f"sbiwb_part_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}{_line(error, path)}"
        message = "'{path}' cannot be imported: {error}"
        facts = {"path": str(path), "error": reason}
        raise PydanticCustomError("broken_part", message, facts) from error
    return module


def _line(error: BaseException, path: Path) -> str:
    """` (line 3)` of the part's file, if its traceback says so; a syntax error says it itself."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    return f" (line {lines[-1]})" if lines else ""


def describe(family: Family[P]) -> Sequence[tuple[str, str, type[P]]]:
    """(kind, first sentence of its file, Config) of every part, for `sbiwb parts`."""
    return [(name, family.sentence(name), family.config(name)) for name in family.names()]
