"""What verdicts look like, what usually causes it, and which key to change: the words of advice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sbiwb.evidence import Rule, Shape


class TrainingSign(Enum):
    """What the end of a training points to."""

    TOO_SHORT = auto()
    OVERFITS = auto()


@dataclass(frozen=True)
class Cause:
    """A usual cause, and the sign of training that makes it the likeliest."""

    words: str
    sign: TrainingSign | None = None


@dataclass(frozen=True)
class Todo:
    """What to change; `enlarges` where it gives the network more freedom to overfit."""

    words: str
    enlarges: bool = False


@dataclass(frozen=True)
class Pattern:
    """One kind of finding.

    Args:
        finding: In words, `{}` stands for the parameters.
        causes: Likeliest first.
        todo: What to change.
        asks_training: Whether what the end of the training says to do comes first.
    """

    finding: str
    causes: tuple[Cause, ...]
    todo: tuple[Todo, ...]
    asks_training: bool = True


STOPPED_EARLY = Cause("training stopped too early", TrainingSign.TOO_SHORT)
BY_HEART = Cause(
    "the network has learned its training pairs by heart (too few simulations)",
    TrainingSign.OVERFITS,
)
RAISE_TRAIN = Todo("Raise simulate.train (its shards are kept, only the new ones are made).")
SMALLER_NETWORK = Todo("Or raise train.weight_decay, or make the network smaller.")
ENSEMBLE = Todo(
    "Or mix several networks: model.uncertainty: {kind: ensemble}; where pairs are few they "
    "disagree, and the mixture is as wide as it should be."
)
ADD_BUDGET = Todo(
    "Add data_budget to diagnose.checks: it says how much twice the simulations would gain."
)
LOOK_AT_RECOVERY = Todo(
    "Look at the recovery picture: a bend near one end is a transform or a bound, a shift "
    "everywhere is a coding error."
)
BIAS_CAUSES = (
    STOPPED_EARLY,
    Cause("a part of the data that matters is dropped, or clipped by a transform"),
)

OVERFITTED = Pattern("Overfitted: {}.", (BY_HEART,), (ENSEMBLE, SMALLER_NETWORK))

GROSS = Pattern(
    "Grossly wrong: {}.",
    (
        Cause("the network has hardly been trained"),
        Cause(
            "a coding error: test pairs and training pairs come from different simulators or units"
        ),
    ),
    (
        Todo(
            "Simulate one data set by hand at known parameters and look at it; check units and the "
            "order of arguments."
        ),
    ),
)

SHAPES = {
    Shape.OVERCONFIDENT: Pattern(
        "Overconfident: the posterior of {} is too narrow.",
        (BY_HEART, Cause("the simulator's noise is larger in the test pairs")),
        (RAISE_TRAIN, SMALLER_NETWORK),
    ),
    Shape.UNDERCONFIDENT: Pattern(
        "Underconfident: the posterior of {} is too wide.",
        (
            STOPPED_EARLY,
            Cause("the network or its summary is too small to hold what the data say"),
        ),
        (
            Todo(
                "Raise train.steps, model.inference.transforms or the inputs' features.",
                enlarges=True,
            ),
        ),
    ),
    Shape.BIASED_LOW: Pattern(
        "Biased low: the posterior of {} lies below the truth.", BIAS_CAUSES, (LOOK_AT_RECOVERY,)
    ),
    Shape.BIASED_HIGH: Pattern(
        "Biased high: the posterior of {} lies above the truth.", BIAS_CAUSES, (LOOK_AT_RECOVERY,)
    ),
    Shape.WRONG_IN_SHAPE: Pattern(
        "Wrong in shape: the posterior of {} is neither shifted nor of the wrong width.",
        (Cause("several modes or a skew that the flow has not learned"),),
        (
            Todo(
                "Make the inference network larger: more transforms or bins of a flow, else more "
                "or wider hidden layers.",
                enlarges=True,
            ),
        ),
    ),
}

BLIND = Pattern(
    "Right on average, but not for the data at hand: {} does not follow the data as it should.",
    (
        Cause("the summary network loses what the data say"),
        Cause("an input is dropped, or its transform flattens it"),
        Cause("training has hardly begun"),
    ),
    (
        Todo(
            "Look at model.inputs: which statistics of the data does the network see? "
            "Raise `features`."
        ),
    ),
)

JOINT = Pattern(
    "Each parameter alone is right, all together are not: correlations or the joint shape are "
    "wrong.",
    (
        Cause("the flow is too simple for the joint posterior"),
        BY_HEART,
    ),
    (
        Todo(
            "Raise model.inference.transforms; two more reverse the order of the parameters once "
            "more.",
            enlarges=True,
        ),
    ),
)

LOCAL = Pattern(
    "Wrong at the real data: a classifier tells the posterior at {} from the truth.",
    (Cause("such data sets are rare among the simulations"),),
    (Todo("Raise simulate.train, or narrow the prior to where the data are."),),
)

CONTRADICTING = Pattern(
    "The posterior misses what the likelihood has learned: by Bayes' rule they contradict each "
    "other.",
    (
        Cause("the posterior network is not trained to the end", TrainingSign.TOO_SHORT),
        Cause("the posterior is harder to learn than the likelihood of single members"),
    ),
    (
        Todo(
            "Where the checks of the likelihood pass, repair draws by it: "
            "`sbiwb sample --refine importance --likelihood learned`."
        ),
    ),
)

LIKELIHOOD_CAUSES = (
    Cause("its training stopped too early", TrainingSign.TOO_SHORT),
    Cause(
        "it has seen too few data sets (members of one share their theta)", TrainingSign.OVERFITS
    ),
    Cause("its flow is too simple for the density of a member"),
)
LIKELIHOOD_TODO = (
    Todo("Raise model.likelihood.train.steps, or simulate.train."),
    Todo(
        "Or make model.likelihood.inference larger: more transforms or bins, wider hidden layers.",
        enlarges=True,
    ),
    Todo(
        "Until it passes, leave alone what rests on it: `--likelihood learned`, "
        "`predict --emulate` and the log evidence."
    ),
)

STRATUM_CAUSES = (
    Cause("such data sets are rare among the simulations, or harder than the others"),
    Cause("the network does not see how they differ"),
)
STRATUM_TODO = (
    Todo("Draw more of them: change the prior of that context variable."),
    Todo("List it under model.inputs if it is dropped; raise `features`."),
)

RULES = {
    Rule.UNIDENTIFIED: Pattern(
        "The data say little about {}: its posterior is about its prior. That is a finding, not a "
        "fault, where the checks pass.",
        (
            Cause("the data do not depend on it"),
            Cause("two parameters do the same to the data"),
            Cause("the network has not found it yet", TrainingSign.TOO_SHORT),
        ),
        (
            Todo(
                "Plot simulations at two extreme values of it: if they look alike, measure "
                "something else or fix it as a constant."
            ),
        ),
    ),
    Rule.LEAKED: Pattern(
        "Some draws of {} lie outside the prior.",
        (Cause("its map to unbounded numbers is `standardize`"),),
        (Todo("Leave model.theta at `prior`, or give a joint parameter its bounds."),),
        asks_training=False,
    ),
    Rule.UNLIKE: Pattern(
        "{} is unlike every simulation: its posterior must not be trusted.",
        (
            Cause("the simulator leaves out something that real data have"),
            Cause("units, order or preprocessing differ from the simulator's"),
        ),
        (
            Todo(
                "Look at the predictive picture; add to the simulator what is missing, or measure "
                "the misfit and say so in the paper."
            ),
        ),
        asks_training=False,
    ),
    Rule.OUTSIDE_PRIOR_PREDICTIVE: Pattern(
        "{} lies outside what the prior predicts.",
        (Cause("the prior is too narrow"), Cause("units differ from the simulator's")),
        (Todo("Widen problem.parameters, or check the units of the data."),),
        asks_training=False,
    ),
    Rule.NOT_REPRODUCED: Pattern(
        "Data simulated from the posterior do not reproduce {}.",
        (Cause("the network does not use it"), Cause("the posterior is too narrow")),
        (Todo("See which inputs hold it: model.inputs and their summary."),),
        asks_training=False,
    ),
    Rule.UNCERTAIN_WEIGHTS: Pattern(
        "Much of the uncertainty of {} is the network's own.",
        (Cause("too few simulations to pin the weights down"),),
        (
            Todo(
                "Raise simulate.train, or train.steps where the validation loss was still falling."
            ),
        ),
        asks_training=False,
    ),
    Rule.MORE_SIMULATIONS: Pattern(
        "More simulations would make the posterior sharper.",
        (Cause("the validation loss still falls with the number of training pairs"),),
        (Todo("Raise simulate.train; what exists is kept."),),
        asks_training=False,
    ),
    Rule.MISJUDGED_LEVELS: Pattern(
        "The probabilities of the levels of {} are not what they say.",
        (BY_HEART, STOPPED_EARLY),
        (
            Todo(
                "Look at the picture of level probabilities; raise simulate.train where they are "
                "too sure."
            ),
        ),
    ),
}
