"""The campaign's tables as Markdown, and the targets that they miss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from tests.calibration.posteriors import CORRELATION, EXACT, PRIOR, STRATUM
from tests.calibration.rates import (
    BY_STRATA,
    BY_STRATA_FAILS,
    FAILS,
    LARGEST,
    ONE_STRATUM,
    SIZES,
    VERDICT,
    Cell,
    Rates,
)

COLUMNS = {
    "sbc": "sbc",
    "theta": "sbc: θ",
    "log q": "sbc: log q",
    "theta·x": "sbc: θ·x",
    "coverage": "coverage",
    "tarp": "tarp",
    "tarp_prior": "tarp: prior",
    "tarp_data": "tarp: data",
}
BLIND = {
    PRIOR: ("theta", "log q", "coverage", "tarp_prior"),
    CORRELATION: ("theta", "theta·x", "coverage"),
}
MOST_FALSE, LEAST_POWER, SURE = 0.06, 0.9, 4.0


def tables(rates: Sequence[Rates]) -> Iterator[str]:
    """All of them, line by line."""
    found = {one.cell: one for one in rates}
    yield "The verdict is over all checks together, `by strata` also over those within four strata of N / 4. Then each check and each of"
    yield "its parts alone, after Holm over its own p-values; log q is also expected coverage (HPD). ± is one binomial standard error."
    yield ""
    yield from false_alarms([one for one in rates if one.cell.case == EXACT and not one.cell.real])
    yield from power([one for one in rates if one.cell.case != EXACT and not one.cell.real], found)
    yield from control([one for one in rates if one.cell.real], found)


def false_alarms(rates: Sequence[Rates]) -> Iterator[str]:
    yield f"False alarms, in per cent of {_repetitions(rates)} repetitions with exact posteriors, at a nominal 5 %:"
    yield ""
    yield from head("N", "S", "D", VERDICT, BY_STRATA, *COLUMNS.values())
    for one in rates:
        cell = one.cell
        yield line(
            cell.n,
            cell.s,
            cell.d,
            spread(one, VERDICT),
            spread(one, BY_STRATA),
            *(percent(one, column) for column in COLUMNS),
        )
    yield ""


def power(rates: Sequence[Rates], found: dict[Cell, Rates]) -> Iterator[str]:
    n, s = LARGEST
    fewer = SIZES[1][1]
    yield f"Faults found, in per cent of {_repetitions(rates)} repetitions, N = {n}, S = {s} ({fewer} in one column); in brackets where"
    yield "theory says that the check is blind to the fault:"
    yield ""
    yield from head("posterior", "D", VERDICT, FAILS, f"S = {fewer}", *COLUMNS.values())
    for one in rates:
        if one.cell.s == s:
            yield from _power_rows(one, found[replace(one.cell, s=fewer)])
    yield ""
    alone = ", ".join(
        f"{spread(one, ONE_STRATUM)} % (D = {one.cell.d})"
        for one in rates
        if one.cell.case == STRATUM and one.cell.s == s
    )
    yield f"By strata, the bad quarter and no other is accused in {alone}."
    yield ""


def _power_rows(one: Rates, fewer: Rates) -> Iterator[str]:
    cell = one.cell
    shares = [blind(one, column) for column in COLUMNS]
    yield line(
        cell.case.name,
        cell.d,
        spread(one, VERDICT),
        percent(one, FAILS),
        percent(fewer, VERDICT),
        *shares,
    )
    if cell.case == STRATUM:
        name = f"{cell.case.name}, {BY_STRATA}"
        yield line(
            name,
            cell.d,
            spread(one, BY_STRATA),
            percent(one, BY_STRATA_FAILS),
            percent(fewer, BY_STRATA),
            *[""] * len(COLUMNS),
        )


def control(rates: Sequence[Rates], found: dict[Cell, Rates]) -> Iterator[str]:
    yield "Real draws through `compute` against ranks drawn by their law, verdicts other than pass in per cent:"
    yield ""
    yield from head(
        "posterior",
        "N",
        "S",
        "D",
        "repetitions",
        "draws",
        "ranks",
        "draws, by strata",
        "ranks, by strata",
        "farthest",
    )
    for one in rates:
        cell, other = one.cell, found[replace(one.cell, real=False)]
        strata = (spread(one, BY_STRATA), spread(other, BY_STRATA)) if cell.by_strata else ("", "")
        whole = (spread(one, VERDICT), spread(other, VERDICT))
        yield line(
            cell.case.name,
            cell.n,
            cell.s,
            cell.d,
            one.repetitions,
            *whole,
            *strata,
            farthest(one, other),
        )
    yield ""
    yield "Farthest: of the verdicts, checks and parts, the one whose two rates differ most, in standard errors of the difference."
    yield ""


def head(*words: object) -> Iterator[str]:
    yield line(*words)
    yield line(*("---" if word == "posterior" else "---:" for word in words))


def line(*words: object) -> str:
    return "| " + " | ".join(str(word) for word in words) + " |"


def percent(one: Rates, column: str) -> str:
    return f"{100 * one.rate(column):.1f}"


def spread(one: Rates, column: str) -> str:
    """With its standard error."""
    return f"{percent(one, column)} ± {100 * one.error(column):.1f}"


def blind(one: Rates, column: str) -> str:
    share = percent(one, column)
    return f"({share})" if column in BLIND.get(one.cell.case, ()) else share


def _repetitions(rates: Sequence[Rates]) -> str:
    return " or ".join(f"{count:,}" for count in sorted({one.repetitions for one in rates}))


def unmet(rates: Sequence[Rates]) -> Iterator[str]:
    """Each target that is missed, in words."""
    found = {one.cell: one for one in rates}
    for one in rates:
        cell = one.cell
        if cell.real:
            yield from (
                f"{cell}: {said}" for said in disagreements(one, found[replace(cell, real=False)])
            )
        elif cell.case == EXACT:
            yield from (
                f"{cell}: false alarms of {x}: {spread(one, x)} %"
                for x in (VERDICT, BY_STRATA)
                if one.rate(x) > MOST_FALSE
            )
        elif one.rate(cell.target) < LEAST_POWER:
            yield f"{cell}: found in {spread(one, cell.target)} %"


def farthest(real: Rates, drawn: Rates) -> str:
    column, gap = max(gaps(real, drawn).items(), key=lambda item: item[1])
    return f"{column} {gap:.1f}"


def gaps(real: Rates, drawn: Rates) -> dict[str, float]:
    """By how many standard errors the rates by draws and by ranks differ, by column."""
    names = (VERDICT, BY_STRATA, *COLUMNS)
    errors = {name: (real.error(name) ** 2 + drawn.error(name) ** 2) ** 0.5 for name in names}
    return {name: abs(real.rate(name) - drawn.rate(name)) / errors[name] for name in names}


def disagreements(real: Rates, drawn: Rates) -> Iterator[str]:
    """Columns in which draws and ranks differ by more than chance."""
    for column, gap in gaps(real, drawn).items():
        if gap > SURE:
            yield f"{column} rejects {spread(real, column)} % by draws, {spread(drawn, column)} % by ranks"


def report(lines: Iterable[str], missed: Iterable[str], out: Path | None) -> None:
    """Prints tables, keeps them in a file, and ends with 1 where targets were missed."""
    text = "\n".join(lines)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
    failures = list(missed)
    print(*failures, sep="\n")
    raise typer.Exit(bool(failures))
