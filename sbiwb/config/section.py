"""What sections of the YAML are made of: options under any key, and names."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.families import Options
from sbiwb.naming import reserved_because


def not_reserved(name: str) -> str:
    """Refuses the name of a variable that no file could hold."""
    reason = reserved_because(name)
    if reason is not None:
        template = "{reason}; choose another name, such as {name}_1, here and in the simulator"
        raise PydanticCustomError("reserved_name", template, {"reason": reason, "name": name})
    return name


def _as_list(value: object) -> object:
    """A single name as a list of one."""
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_as_list, json_schema_input_type=str | list[str])
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="A Python name."),
    AfterValidator(not_reserved),
]
Names = Annotated[list[Name], OneOrMore]
Columns = Annotated[list[str], OneOrMore]


class Section(Options):
    """Options whose keys may be words that Python keeps for itself (`as`, `from`)."""

    model_config = ConfigDict(
        validate_by_alias=True, validate_by_name=False, serialize_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_default_kind(cls, value: object) -> object:
        """Options of a part without its kind are those of the kind that stands there by default."""
        if not isinstance(value, dict):
            return value
        complete = dict(value)
        for name, field in cls.model_fields.items():
            key, default = field.alias or name, field.default
            options = complete.get(key)
            is_part = isinstance(default, dict) and "kind" in default
            if is_part and isinstance(options, dict) and "kind" not in options:
                complete[key] = {**default, **options}
        return complete
