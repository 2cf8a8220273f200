r"""Variational inference: the density of a family that maximises the evidence lower bound.

    ELBO(q) = E_q[log p(z) - log q(z)] = log Z - KL(q || p / Z)

q is fitted in the coordinates u of a normal start, z = m + L u, where every family begins as about
the standard normal: the learning rate is in units of the start's standard deviations. For
`mean_field` L is diagonal, so that q is independent in z.

What came out is judged as a proposal of importance sampling: its Pareto k says whether the family
was wide enough.

Warning: the Kullback-Leibler divergence of this direction prefers a q that is too narrow, or one
mode of many, to one that reaches where p is small; a k below 0.7 does not prove that no mode is
missing. Where the density has impossible regions the bound is minus infinity.

References:
    Blei, Kucukelbir & McAuliffe (2017), Variational Inference: A Review for Statisticians,
        https://arxiv.org/abs/1601.00670
    Yao, Vehtari, Simpson & Gelman (2018), Yes, but Did It Work?, https://arxiv.org/abs/1802.02538
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.contracts import Reference, ReferencePart, Reporter, Target, TargetNeed
from sbiwb.families import Count
from sbiwb.pareto import TRUSTED_K, importance_weights

if TYPE_CHECKING:
    from sbiwb.references._elbo import Fitted
    from sbiwb.references._families import Approximation

WEIGHED_DRAWS = 20_000  # draws by which q is judged
ROUNDING_NATS = 1e-6
MAX_STANDARD_ERRORS = 5.0  # between the closed form and the draws


class Config(ReferencePart):
    """A family of densities, and how its best is found."""

    needs: ClassVar[TargetNeed] = "density"

    family: Literal["mean_field", "full_rank", "gmm", "nsf"] = Field(
        "full_rank",
        description="Independent normals, a normal, a mixture of normals, or a neural spline flow.",
    )
    gradient: Literal["reparameterised", "score", "closed_form"] = Field(
        "reparameterised",
        description="Of the ELBO: through draws, by the score function (noisier), or exact for "
        "log-densities polynomial up to degree 5.",
    )
    start: Literal["map", "prior", "amortized"] = Field(
        "map",
        description="Where the family begins: around the mode, or as wide as the prior or the "
        "amortized posterior.",
    )
    steps: Count = Field(5_000, ge=1, le=10_000_000, description="Steps of the optimiser.")
    samples: Count = Field(
        32, ge=1, le=1_000_000, description="Draws of each step; without meaning for closed_form."
    )
    learning_rate: float = Field(
        0.02,
        gt=0,
        le=10,
        description="At first, in standard deviations of the start; it falls to a thousandth by a "
        "constant factor.",
    )
    components: Count = Field(8, ge=1, le=1024, description="Normal distributions of gmm.")
    transforms: int = Field(3, ge=1, le=64, description="Spline transforms of nsf.")
    passes: Annotated[int, Field(ge=2, le=4096)] | None = Field(
        2,
        description="Steps of nsf to draw: 2 for coupling (fast), null for one a column "
        "(autoregressive, more flexible).",
    )
    hidden: Annotated[
        list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=32)
    ] = Field([64, 64], description="Width of each hidden layer of every transform of nsf.")

    @model_validator(mode="after")
    def _closed(self) -> Config:
        if self.gradient == "closed_form" and self.family not in ("mean_field", "full_rank"):
            raise PydanticCustomError(
                "closed_form",
                "'{family}' has no closed-form ELBO: mean_field and full_rank have",
                {"family": self.family},
            )
        return self

    @property
    def uses_amortized(self) -> bool:
        return self.start == "amortized"

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` independent draws of the fitted q; facts are `elbo` and its error, `pareto_k`,
        `ess`, ...; the curve is `elbo`.

        Raises:
            DataError: There is no amortized posterior to start from, or no point of finite density
                is found.
            TrainingError: The bound left the numbers.
        """
        fitted = self.fit(target, rng, reporter)
        log_density, log_q = _weighed(target, fitted, rng)
        weights = importance_weights(log_density, log_q)
        facts = weights.facts(target.evidence) | _bound(log_density - log_q)
        facts["steps"] = float(self.steps)
        warnings = [*_narrow(self.family, weights.pareto_k), *_impossible(facts["impossible"])]
        if self.gradient == "closed_form":
            warnings += _not_closed(fitted.curve[-1], facts)
        return Reference(
            target.theta(fitted.sample(draws, rng)),
            facts=facts,
            curves={"elbo": fitted.curve},
            warnings=tuple(warnings),
        )

    def fit(self, target: Target, rng: np.random.Generator, reporter: Reporter) -> Fitted:
        """The best of the family, as far as it was found."""
        from sbiwb.references._elbo import FitPlan, fit
        from sbiwb.references._proposals import independent, normal_of

        start = normal_of(target, self.start, rng)
        if self.family == "mean_field":
            start = independent(start)
        plan = FitPlan(self.gradient, self.steps, self.samples, self.learning_rate)
        with reporter.task("vi", self.steps, unit="steps") as ticker:
            return fit(self._family, target, start=start, plan=plan, rng=rng, ticker=ticker)

    def _family(self, d: int) -> Approximation:
        """The family before training, D columns."""
        from sbiwb.references import _families as families

        if self.family == "gmm":
            return families.Mixture(d, self.components)
        if self.family == "full_rank":
            return families.FullRank(d)
        if self.family == "mean_field":
            return families.MeanField(d)
        return families.Spline(
            d, transforms=self.transforms, passes=self.passes, hidden=self.hidden
        )


def _weighed(
    target: Target, fitted: Fitted, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """log p and log q of draws of the fitted q, (S,) each."""
    from sbiwb.references._proposals import weighted

    parts = [(log_p, log_q) for _, log_p, log_q in weighted(target, fitted, WEIGHED_DRAWS, rng)]
    log_density, log_q = zip(*parts, strict=True)
    return np.concatenate(log_density), np.concatenate(log_q)


def _bound(gains: np.ndarray) -> dict[str, float]:
    """The ELBO and its standard error by the possible ones of independent draws' log p - log q
    (S,), and the share of the others."""
    possible = gains[np.isfinite(gains)]
    return {
        "elbo": float(possible.mean()),
        "elbo_error": float(possible.std() / np.sqrt(len(possible))),
        "impossible": 1 - len(possible) / len(gains),
    }


def _narrow(family: str, k: float) -> list[str]:
    if k <= TRUSTED_K:
        return []
    return [
        f"Pareto k is {k:.2f}, above {TRUSTED_K}: {family} is too narrow a family for this "
        "posterior, or was fitted in too few steps."
    ]


def _impossible(share: float) -> list[str]:
    if not share:
        return []
    return [
        f"{share:.2%} of the draws are impossible under the density: the ELBO, over the others "
        "alone, is really minus infinity."
    ]


def _not_closed(closed: float, facts: Mapping[str, float]) -> list[str]:
    """Whether the closed form and the draws disagree about the bound."""
    if abs(closed - facts["elbo"]) <= MAX_STANDARD_ERRORS * facts["elbo_error"] + ROUNDING_NATS:
        return []
    return [
        f"the closed-form ELBO is {closed:.4g}, by draws it is {facts['elbo']:.4g}: the "
        "log-density is no polynomial of degree 5 at most; "
        "take gradient: reparameterised."
    ]
