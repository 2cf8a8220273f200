"""What is judged: a trained posterior, its pairs, and how further evidence is had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.joint_model import JointModel
from sbiwb.project.observe import DataSets
from sbiwb.project.simulations import ForwardSimulator
from sbiwb.records import Pairs, Variable
from sbiwb.steps.judge.draw_blocks import DrawOptions

QuantityFunction = Callable[
    [Mapping[str, np.ndarray], Mapping[str, Variable]], Mapping[str, np.ndarray]
]


@dataclass(frozen=True)
class TestQuantities:
    """The simulator file's own `test_quantities(theta, x)`.

    Args:
        function: theta by name, each (n,), and the x of one data set to quantities, each (n,).
        path: The file, for messages.
    """

    function: QuantityFunction
    path: Path | str


@dataclass(frozen=True)
class JudgedRun:
    """A trained run as the judge sees it.

    Args:
        posterior: What is judged.
        prior: Of the parameters.
        test: Pairs that no training saw.
        draw_options: Which draws are made of them.
        missing: Observables that may have missing values.
        training_pairs: How many the network was trained on.
        quantities: The simulator file's own; None where it has none.
        load_validation: Reads the pairs that decided when training was best.
        load_training: Reads the first training pairs, as many as asked for.
        load_observations: Reads the real data.
        forward: Opens what simulates again.
        train_on: Trains the same network on that many of the training pairs.
        load_joint: Reads the learned likelihood beside the posterior; None where there is none.
    """

    posterior: Posterior
    prior: Prior
    test: Pairs
    draw_options: DrawOptions
    missing: tuple[str, ...]
    training_pairs: int
    quantities: TestQuantities | None
    load_validation: Callable[[], Pairs]
    load_training: Callable[[int], Pairs]
    load_observations: Callable[[], list[DataSets]]
    forward: Callable[[], ForwardSimulator]
    train_on: Callable[[int], Posterior]
    load_joint: Callable[[], JointModel] | None = None

    @property
    def seed(self) -> int:
        """Root of whatever is drawn at random."""
        return self.draw_options.seed
