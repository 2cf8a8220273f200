"""JSON of a run as the page reads it: a field of another type than expected counts as absent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sbiwb.report._table import is_finite

JsonObject = Mapping[str, object]


@dataclass(frozen=True)
class Fields:
    """A JSON object, read by type.

    Example:
        >>> fields = Fields.of({"n": 3, "name": "mu", "values": [{"p": 0.1}, 7]})
        >>> fields.number("n"), fields.number("name"), fields.text("name")
        (3, None, 'mu')
        >>> [one.number("p") for one in fields.records("values")]
        [0.1]
    """

    values: JsonObject

    @classmethod
    def of(cls, value: object) -> Fields:
        """The fields of an object; none of anything else."""
        return cls(value if isinstance(value, Mapping) else {})

    def __bool__(self) -> bool:
        return bool(self.values)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def get(self, key: str) -> object:
        """Whatever is there."""
        return self.values.get(key)

    def number(self, key: str) -> float | None:
        return _number(self.values.get(key))

    def numbers_at(self, keys: Iterable[str]) -> list[float]:
        """The numbers under these keys; empty where one is missing."""
        numbers = []
        for key in keys:
            number = self.number(key)
            if number is None:
                return []
            numbers.append(number)
        return numbers

    def text(self, key: str) -> str:
        """As text; empty where there is nothing."""
        value = self.values.get(key)
        if value is None:
            return ""
        return str(value)

    def fields(self, key: str) -> Fields:
        return Fields.of(self.values.get(key))

    def entries(self, key: str) -> list[object]:
        value = self.values.get(key)
        if isinstance(value, list | tuple):
            return list(value)
        return []

    def numbers(self, key: str) -> list[float]:
        """The numbers of a list."""
        numbers = map(_number, self.entries(key))
        return [number for number in numbers if number is not None]

    def records(self, key: str) -> list[Fields]:
        """The objects of a list that hold something."""
        return list(filter(None, map(Fields.of, self.entries(key))))

    def texts(self, key: str) -> list[str]:
        """The entries of a list as text."""
        return list(map(str, self.entries(key)))

    def each(self) -> dict[str, Fields]:
        """The objects that are its values, by key."""
        return {key: Fields.of(value) for key, value in self.values.items()}


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and is_finite(value):
        return value
    return None
