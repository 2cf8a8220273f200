"""What speaks for and against the posterior of real data, and intervals that hold all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sbiwb.contracts import OutputKind, Reporter, Silent
from sbiwb.diagnostics import family, tail
from sbiwb.errors import CorruptFile, RunError, SimulatorError
from sbiwb.evidence import Value
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.records import Columns, Pairs, take
from sbiwb.seeds import generator, place
from sbiwb.steps.infer.distrust import SimulationGap
from sbiwb.steps.joint.observed import Consistency
from sbiwb.steps.judge.measure import CalibrationPairs, JoinedObservations, local_evidence
from sbiwb.steps.trust.baseline import (
    MAX_PAIRS,
    Baseline,
    disagreement,
    measured_baseline,
    shown_by,
)
from sbiwb.steps.trust.conformal import Calibrated, Shown
from sbiwb.steps.trust.conformal_intervals import ConformalIntervals
from sbiwb.steps.trust.posterior_sbc import PosteriorSBC, judged, positions
from sbiwb.steps.trust.verdict import Asked, Trust, TrustPart, trust
from sbiwb.workflow.sample_shares import current_numbers

LC2ST = "lc2st"
SPACES = {"statistics": "statistics of the data", "network": "features of the data"}
REPLICATES, PROPOSALS = 200, 500  # of posterior SBC: data sets, and draws that each is judged by
SMALL_SPREAD = 0.3  # nats that the log evidence may vary by: sds off by a fifth
SMALL_DISAGREEMENT = 0.05  # nats between the networks: means that part by a third of an sd
SMALL_POSITION = 0.1  # max |ECDF - z| of 200 positions
UNLIKE = "compare the data with `sbiwb predict`: what do they have that no simulation has?"
MORE = "simulate more near it, or train longer (`effort: best`)"
REFINE = "repair the draws: --refine importance --likelihood learned"
WIDER = "use the conformal intervals, and repair the draws by a likelihood (--refine)"
NOT_JUDGED = (
    "the run is not judged yet: what holds for simulations on average is not known",
    "run `sbiwb diagnose` first",
)
NO_PAIRS = (
    "there are no simulated pairs to hold it against",
    "simulate validation and test pairs: simulate: {validation: 500, test: 1000}",
)


@dataclass(frozen=True)
class TrustEvidence:
    """What is known of the data sets of one observation beside their draws.

    Args:
        misfit: How far they lie from the simulations.
        consistency: Of posterior and likelihood; empty where no likelihood is learned.
        cautions: Sentences on all data sets, such as context that was never simulated.
        is_repaired: Whether a likelihood made the draws: then what it says of the network counts
            no more.
    """

    misfit: SimulationGap
    consistency: Sequence[Consistency] = ()
    cautions: Sequence[str] = ()
    is_repaired: bool = False


@dataclass(frozen=True)
class TrustJudge:
    """Judges real data of a run.

    Args:
        project: The run.
        posterior: Its trained posterior.
        reporter: Where progress goes.
        seed: Root of whatever is drawn.
        verify: Whether to simulate from the posterior of each data set, and to train classifiers.
    """

    project: Project
    posterior: Posterior
    reporter: Reporter
    seed: int
    verify: bool = False

    def judge(self, data: DataSets, theta: np.ndarray, known: TrustEvidence) -> list[Trust]:
        """A verdict for each data set.

        Args:
            data: N data sets.
            theta: Their draws, (N, S, D).
            known: What is known of them already.
        """
        parts = [list[TrustPart]() for _ in data.labels]
        for found in self._found(data, theta, known):
            for own, part in zip(parts, found, strict=True):
                if part is not None:
                    own.append(part)
        cautions = tuple(self._cautions(known))
        return trust(
            [
                Asked(label, tuple(own), cautions)
                for label, own in zip(data.labels, parts, strict=True)
            ]
        )

    def _found(
        self, data: DataSets, theta: np.ndarray, known: TrustEvidence
    ) -> Iterator[list[TrustPart | None]]:
        """A part for each data set, one kind after the other."""
        for space in known.misfit.spaces:
            yield [_unlike(known.misfit.alone(space, label)) for label in data.labels]
        if known.is_repaired:
            return
        yield from self._disagreement(data)
        if known.consistency:
            yield [_inconsistent(result) for result in known.consistency]
        if self.verify:
            yield self._posterior_sbc(data, theta)
            yield self._local(data, theta)

    @cached_property
    def baseline(self) -> Baseline | None:
        """What is usual at simulated pairs; None where there are none."""
        project, weights = self.project, weights_hash(self.project.run)
        known = Baseline.read(project.run.baseline, weights)
        if known is not None:
            return known
        try:
            validation, test = (self._pairs(split) for split in ("validation", "test"))
        except (RunError, CorruptFile):
            return None
        seed = project.config.diagnose.seed
        measured = measured_baseline(self.posterior, validation, test, weights, seed, self.reporter)
        measured.write(project.run.baseline)
        return measured

    def _pairs(self, split: str) -> tuple[Pairs, np.ndarray]:
        pairs = load_split(self.project, split, most=MAX_PAIRS[split])
        return pairs, self.project.prior.stack(pairs.theta)

    @cached_property
    def _calibrated(self) -> Calibrated | None:
        return self.baseline.calibrated if self.baseline else None

    def conformal(self, data: DataSets, theta: np.ndarray) -> ConformalIntervals | None:
        """Intervals that hold in nine of ten data sets; None where nothing calibrates them."""
        calibrated = self._calibrated
        if calibrated is None:
            return None
        shown = shown_by(self.posterior, data.variables, theta)
        low, high = self.project.prior.support()
        intervals = np.clip(calibrated.intervals(shown), low[:, None], high[:, None])
        intervals[:, ~self._is_plain] = np.nan
        region = self._region(data, theta, shown, calibrated)
        return ConformalIntervals(intervals, region)

    @property
    def _is_plain(self) -> np.ndarray:
        """Of each column, whether an interval says where its values lie, (D,)."""
        theta_map = self.posterior.theta_map
        is_plain = np.array([name not in theta_map.levels for name in self.posterior.columns])
        is_plain[list(theta_map.circular)] = False
        return is_plain

    def _region(
        self, data: DataSets, theta: np.ndarray, shown: Shown, calibrated: Calibrated
    ) -> np.ndarray:
        """Share of the draws that lie in the region of highest density."""
        if self.posterior.output_kind != OutputKind.JOINT:
            return np.full(len(theta), np.nan)
        log_q = self.posterior.log_prob(theta[:, :PROPOSALS], data.variables)
        return np.asarray((log_q >= calibrated.densities(shown)[:, None]).mean(1))

    def _cautions(self, known: TrustEvidence) -> Iterator[tuple[str, str]]:
        """Reasons without a p-value, the gravest first."""
        for sentence in known.cautions:
            yield sentence, "look at the data, or simulate where they are"
        if self.baseline is None:
            yield NO_PAIRS
        if known.is_repaired:
            return
        numbers = current_numbers(self.project.run)
        if numbers is None:
            yield NOT_JUDGED
        elif numbers.verdict == "fail":
            yield (
                f"the run fails its checks on simulated data: {numbers.summary}",
                "mend the run first: `sbiwb report` says how",
            )

    def _disagreement(self, data: DataSets) -> Iterator[list[TrustPart | None]]:
        """How far the networks of an ensemble part."""
        if self.baseline is None or not len(self.baseline.divergences):
            return
        rng = generator(self.seed, "trust", 0, place(data.name))
        found = disagreement(self.posterior, data.variables, rng)
        usual = self.baseline.divergences
        chances, limit = tail(usual, found), np.quantile(usual, 0.95)
        yield [_parted(j, p, limit) for j, p in zip(found.tolist(), chances.tolist(), strict=True)]

    def _posterior_sbc(self, data: DataSets, theta: np.ndarray) -> list[TrustPart | None]:
        if self.posterior.output_kind != OutputKind.JOINT or self.project.prior.joint:
            self.reporter.say("Posterior SBC needs densities of posterior and prior: left out.")
            return [None] * len(data)
        parts: list[TrustPart | None] = []
        title = f"simulate from the posterior of {data.name}"
        with self.reporter.task(title, len(data), unit="data sets") as ticker:
            for which, label in enumerate(data.labels):
                try:
                    parts.append(_not_uniform(self._positions(data, which, theta[which])))
                except SimulatorError as error:
                    self.reporter.warn(f"{label}: no posterior SBC, {error.what}")
                    parts.append(None)
                ticker.advance(1)
        return parts

    def _positions(self, data: DataSets, which: int, theta: np.ndarray) -> PosteriorSBC:
        """Posterior SBC of one data set, of draws (S, D)."""
        rng = generator(self.seed, "trust", 1, place(data.name), which)
        replicates = min(REPLICATES, len(theta) // 2)
        order = rng.permutation(len(theta))
        truth, others = theta[order[:replicates]], theta[order[replicates:]]
        context: Columns = {
            name: take(values, np.array([which])) for name, values in data.context.items()
        }
        seed = int(rng.integers(2**31))
        done = self.project.forward.simulate(truth[None], context, seed, Silent(), name=data.name)
        count, most = len(done.rows), min(PROPOSALS, len(others))
        chosen = rng.integers(len(others), size=(count, most))
        stack = np.concatenate([truth[done.rows][:, None], others[chosen]], axis=1)
        log_prior = self.project.prior.log_prob(stack.reshape(-1, stack.shape[-1]))
        log_q = self.posterior.log_prob(stack, done.pairs.variables)
        weights = log_q - log_prior.reshape(log_q.shape)
        return judged(positions(stack, weights, rng), self.posterior.columns)

    def _local(self, data: DataSets, theta: np.ndarray) -> list[TrustPart | None]:
        """L-C2ST at each data set."""
        try:
            pairs, truth = self._pairs("test")
        except (RunError, CorruptFile):
            return [None] * len(data)
        posterior, drawn = self.posterior, theta[:, :PROPOSALS]
        rng = generator(self.seed, "trust", 2, place(data.name))
        draws = posterior.sample(pairs.variables, 1, rng)[:, 0]
        calibration = CalibrationPairs(pairs.variables, truth, draws)
        observed = JoinedObservations.of([data])
        local = local_evidence(posterior, calibration, observed, drawn, self.seed)
        check = family.parse(LC2ST)
        values = family.module(LC2ST).compute(local, check).values
        return [_told_apart(value, check.level.tolerance) for value in values]


def _unlike(value: Value | None) -> TrustPart | None:
    if value is None or value.value is None:
        return None
    name, fault = SPACES[value.name.partition("_")[0]], "the data are unlike the simulations"
    return TrustPart(name, value.value, value.reason, UNLIKE, fault=fault)


def _parted(j: float, p: float, usual: float) -> TrustPart:
    found = f"the networks part by {j:.2g} nats, usually by less than {usual:.2g}"
    return TrustPart("networks", p, found, MORE, j, SMALL_DISAGREEMENT, "the networks disagree")


def _inconsistent(result: Consistency) -> TrustPart:
    found = (
        f"the log evidence varies by {result.spread:.2g} nats over the draws, usually by less than "
        f"{result.usual:.2g}"
    )
    fault = "posterior and likelihood contradict each other"
    return TrustPart(
        "self-consistency", result.p, found, REFINE, result.spread, SMALL_SPREAD, fault
    )


def _not_uniform(result: PosteriorSBC) -> TrustPart:
    found = (
        f"the ranks of {result.column} among {result.replicates} data sets simulated from this "
        f"posterior are off by {result.effect:.2f}"
    )
    fault = "at data like these the network is wrong"
    return TrustPart("posterior SBC", result.p, found, WIDER, result.effect, SMALL_POSITION, fault)


def _told_apart(value: Value, tolerance: float) -> TrustPart | None:
    if value.p is None:
        return None
    return TrustPart("L-C2ST", value.p, value.reason, WIDER, value.effect, tolerance)
