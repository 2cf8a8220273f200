"""How the code reads stays within limits, and what is beyond one does not get worse."""

from __future__ import annotations

from pathlib import Path

import sbiwb
from tests.style import beyond, measures

REACHED = {"nodes a function, median": 47}
"""Numbers that are beyond the limit as yet, and where they stand."""


def test_the_code_reads_well():
    found = measures(Path(sbiwb.__file__).parent)
    assert set(beyond(found)) <= set(REACHED)
    assert {name: found[name] for name, most in REACHED.items() if found[name] > most} == {}


def test_the_measures_see_what_they_should(tmp_path):
    (tmp_path / "one.py").write_text(
        "from typing import Any\n\n\n"
        "def f(x: Any, y: int) -> int:\n"
        '    """Adds."""\n'
        "    return x + y if x else sum(i for i in range(y))\n"
    )
    found = measures(tmp_path)
    assert (found["functions"], found["lines"]) == (1, 4)
    assert found["nodes a function, median"] == 24
    assert found["conditional expressions in 1,000 lines"] == 250
    assert found["comprehensions in 1,000 lines"] == 250
    assert found["annotations with Any, %"] == 100 / 3
