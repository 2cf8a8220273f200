"""What the terminal says of many data sets: each thing once."""

from __future__ import annotations

from sbiwb.cli.show import _trust
from sbiwb.steps.trust.verdict import Trust, first_to_look_at


def said(capsys, results) -> list[str]:
    _trust(results, first_to_look_at(results))
    return " ".join(capsys.readouterr().out.split()).split("trust: ")[1:]


def test_data_sets_of_which_the_same_is_said_share_a_line(capsys):
    alike = [Trust(f"day {i}", "warn", "not judged", "diagnose first", 1.0, ()) for i in range(4)]
    bad = Trust("day 9", "fail", "far [off]", "look", 0.001, ())
    fine = Trust("day 8", "pass", "nothing speaks against it", "", 1.0, ())
    assert [line.strip() for line in said(capsys, [*alike, bad, fine])] == [
        "1 of 6 data sets pass",
        "day 9: fail, far [off] → look",
        "day 0 and 3 more: warn, not judged → diagnose first",
    ]
    assert said(capsys, [fine]) == ["pass, nothing speaks against it"]
