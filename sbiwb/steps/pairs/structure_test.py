r"""Whether data are as independent as `problem.structure` says: by repeats at the same theta.

At K theta, each with its context, R data sets are simulated. What varies among these is noise, so
what members share there they share given theta. Each column of a member is taken by its normal
score e among the repeats at its theta, and by e² (`repeats`). Of features f and g of members m and
m', at each theta k,

    c_k = sum over repeats r and pairs (m, m') of  f_rm g_rm',

over all pairs of members, over neighbours, and over those two apart. Both sum_k c_k and, for signs
that change with theta, sum_k c_k² are held against what permuting gives:

    iid            members at a theta are permuted among all places and repeats; so the means of e
                   and e² at each place are looked at, too
    independent    the members at each place are permuted among repeats, place by place; of few
                   members each pair is looked at, too
    two entries    the data of one are permuted among repeats; c_k is of sums over members, and of
                   members at the same place
    markov         x_t, and what came before (x_{t-2}, and the mean of all before t - 1), are each
                   freed of a polynomial in x_{t-1}, and repeats with nearly the same x_{t-1} are
                   matched (`markov_products`); the products of the differences of a match, and of
                   squares, have mean zero. Each keeps or changes its sign

The first three are exact permutation tests whatever the distribution of the data. The last one is
a generalised covariance measure, whose level is as good as polynomial and matches are: false
alarms at 5 % were 2 to 8 in 100 for nonlinear maps, counts and noise that depends on the step
before. Columns beyond eight are not all looked at, nor members beyond 32; and a step of more than
four columns is not tested, because its polynomial has more terms than repeats can tell.

Shapes: K theta, R repeats, M members, C columns, F features of a member, S statistics.

References:
    Pitman (1937), Significance tests which may be applied to samples from any populations II: the
        correlation coefficient test, https://doi.org/10.2307/2983647
    Shah & Peters (2020), The hardness of conditional independence testing and the generalised
        covariance measure, https://doi.org/10.1214/19-AOS1857
    Holm (1979), A simple sequentially rejective multiple test procedure,
        https://www.jstor.org/stable/4615733
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from sbiwb.config.structure import StructureKind
from sbiwb.diagnostics import holm
from sbiwb.project.member_rows import MemberRows
from sbiwb.steps.pairs.arrangements import (
    Arrangements,
    ExchangeableMembers,
    IidMembers,
    IndependentMembers,
    MarkovProducts,
    TwoEntries,
)
from sbiwb.steps.pairs.markov_products import has_repeats_enough, markov_products
from sbiwb.steps.pairs.permuted import DRAWS, permutation_test
from sbiwb.steps.pairs.repeats import features_by_place, features_of_all, part_of, repeated

ALPHA = 0.01  # below which a structure is contradicted, after Holm
DRAWS_A_TEST = 200  # at least, so that Holm leaves small p-values
LEAST_MEMBERS = {"iid": 2, "independent": 2, "markov": 3}  # of what can be tested
APART = "independent of each other"
DEPENDENT = "depend on each other given theta"
BY_PLACE = "change with their place"
MORE_THAN_ONE = "depend on more than the one before given theta"


@dataclass(frozen=True)
class Entry:
    """An entry of `problem.structure`, and its members in N data sets.

    Args:
        name: Of the entry.
        said: What the YAML says of its members.
        sources: Its observables.
        rows: The members.
    """

    name: str
    said: StructureKind
    sources: tuple[str, ...]
    rows: MemberRows

    def features(self, members: np.ndarray) -> np.ndarray:
        """Features of members (K, R, M, C), as what is said allows."""
        if self.said == "iid":
            return features_of_all(part_of(members))
        return features_by_place(part_of(members))

    @property
    def is_fixed(self) -> bool:
        """Whether each data set has as many members, as a joint density wants it."""
        return bool(np.ptp(self.rows.lengths) == 0)

    def instead(self, *structures: str) -> str:
        """What to write in place of what is said."""
        *others, last = [one for one in structures if one != "joint" or self.is_fixed]
        return f"write {', '.join(others)} or {last}" if others else f"write {last}"


@dataclass(frozen=True)
class StructureTest:
    """What simulating at the same theta says of what the YAML says.

    Args:
        name: The entry, or two of them.
        said: iid, independent or markov; or that two entries are independent of each other.
        p: Chance of data as far from what is said, if it were so; after Holm over all tests.
        finding: What is so instead, if it is not so.
        todo: And what to write then.
    """

    name: str
    said: str
    p: float
    finding: str
    todo: str

    @property
    def is_contradicted(self) -> bool:
        return self.p < ALPHA

    @property
    def sentence(self) -> str:
        """What was found, in one line."""
        if self.is_contradicted:
            return self.warning
        return f"{self.name}: {self.said} — not contradicted (p = {self.p:.2f})"

    @property
    def warning(self) -> str:
        """What is wrong, and what to write."""
        if self.said == APART:
            what = f"{self.name} are entries of their own"
        else:
            what = f"{self.name} is said to be {self.said}"
        return f"{what}, but {self.finding} (p = {self.p:.3f}); {self.todo}"


def structure_tests(
    entries: Sequence[Entry], theta: np.ndarray, rng: np.random.Generator
) -> list[StructureTest]:
    """Tests what is said of each entry, and that they are independent of each other.

    Args:
        entries: All of a problem, of the same N data sets.
        theta: Which theta each data set is of, (N,).
        rng: Of the permutations.

    Returns:
        One for each entry, and for each two, about which the data sets say something.
    """
    pairs = list(combinations(entries, 2))
    draws = max(DRAWS, DRAWS_A_TEST * (len(entries) + len(pairs)))
    tester = _Tester(theta, rng, draws)
    tests = [*tester.of_entries(entries), *tester.of_two(pairs)]
    adjusted = holm([test.p for test in tests])
    return [replace(test, p=p) for test, p in zip(tests, adjusted, strict=True)]


@dataclass(frozen=True)
class _Tester:
    """Tests of N data sets, before Holm.

    Args:
        theta: Which theta each is of, (N,).
        rng: Of the permutations.
        draws: Permutations at most.
    """

    theta: np.ndarray
    rng: np.random.Generator
    draws: int

    def of_entries(self, entries: Sequence[Entry]) -> Iterator[StructureTest]:
        """A test of each that has members enough."""
        for entry in entries:
            if entry.said in LEAST_MEMBERS:
                parts = repeated([entry.rows], self.theta, least=LEAST_MEMBERS[entry.said])
                if parts is not None and _is_testable(entry, parts[0]):
                    yield self._entry(entry, parts[0])

    def of_two(self, pairs: Sequence[tuple[Entry, Entry]]) -> Iterator[StructureTest]:
        """A test of each two that have members at once."""
        for one, other in pairs:
            parts = repeated([one.rows, other.rows], self.theta)
            if parts is not None:
                features = one.features(parts[0]), other.features(parts[1])
                p = self._p(TwoEntries(*features, self.rng))
                name = f"{one.name} and {other.name}"
                yield StructureTest(name, APART, p, DEPENDENT, _joined(one, other))

    def _entry(self, entry: Entry, members: np.ndarray) -> StructureTest:
        if entry.said == "markov":
            p = self._p(MarkovProducts(markov_products(members), self.rng))
            todo = entry.instead("autoregressive", "joint")
            return _of_members(entry, p, MORE_THAN_ONE, todo)
        if entry.said == "iid":
            return self._iid(entry, members)
        p = self._p(IndependentMembers(entry.features(members), self.rng))
        return _of_members(entry, p, DEPENDENT, entry.instead("markov", "autoregressive", "joint"))

    def _iid(self, entry: Entry, members: np.ndarray) -> StructureTest:
        p = self._p(IidMembers(entry.features(members), self.rng))
        if p < ALPHA and self._is_by_place(part_of(members)):
            return _of_members(entry, p, BY_PLACE, entry.instead("independent"))
        return _of_members(entry, p, DEPENDENT, entry.instead("autoregressive", "markov", "joint"))

    def _is_by_place(self, members: np.ndarray) -> bool:
        """Whether members that are not iid are rather independent, each with its place, than
        exchangeable."""
        exchangeable = ExchangeableMembers(features_of_all(members), self.rng)
        independent = IndependentMembers(features_by_place(members), self.rng)
        return self._p(exchangeable) < self._p(independent)

    def _p(self, arrangements: Arrangements) -> float:
        return permutation_test(arrangements.observed(), arrangements.permuted, self.draws)


def _is_testable(entry: Entry, members: np.ndarray) -> bool:
    return entry.said != "markov" or has_repeats_enough(members)


def _of_members(entry: Entry, p: float, finding: str, todo: str) -> StructureTest:
    return StructureTest(entry.name, entry.said, p, f"members {finding}", todo)


def _joined(one: Entry, other: Entry) -> str:
    """How two entries are made one."""
    sources = ", ".join([*one.sources, *other.sources])
    if np.array_equal(one.rows.lengths, other.rows.lengths):
        return f"join them in one, from: [{sources}]"
    if one.is_fixed and other.is_fixed:
        return f"join them in one, as: joint, from: [{sources}]"
    return "no structure says so: write model.likelihood: none"
