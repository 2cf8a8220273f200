"""The evidence of `diagnose`: what a trained run hands to the room that judges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sbiwb.contracts import Reporter
from sbiwb.errors import DataError
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.joint_model import JointModel
from sbiwb.project.observe import DataSets
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.project.trained_likelihood import likelihood_of
from sbiwb.rundir import RunDir
from sbiwb.steps.judge.draw_blocks import DrawOptions
from sbiwb.steps.judge.gather import EvidenceCache
from sbiwb.steps.judge.judged_run import JudgedRun, TestQuantities
from sbiwb.workflow.train import train


def evidence_of(project: Project, reporter: Reporter, *, has_joint: bool = False) -> EvidenceCache:
    """What the checks of a trained run judge, made when it is asked for.

    Args:
        project: The run.
        reporter: Where progress goes.
        has_joint: Whether there is a learned likelihood to hold the posterior against.

    Raises:
        RunError: Nothing is trained yet, or test pairs are missing.
    """
    maker = EvidenceMaker(project, reporter)
    config, posterior = project.config, posterior_of(project, reporter)
    load_joint = None
    if has_joint:
        load_joint = partial(maker.joint, posterior)
    run = JudgedRun(
        posterior=posterior,
        prior=project.prior,
        test=load_split(project, "test"),
        draw_options=maker.draw_options(),
        missing=tuple(config.problem.missing),
        training_pairs=config.simulate.train,
        quantities=maker.test_quantities(),
        load_validation=partial(load_split, project, "validation"),
        load_training=lambda most: load_split(project, "train", most=most),
        load_observations=maker.observations,
        forward=lambda: project.forward,
        train_on=maker.train_on,
        load_joint=load_joint,
    )
    return EvidenceCache(run, reporter)


@dataclass(frozen=True)
class EvidenceMaker:
    """What the evidence of a trained run is made of.

    Args:
        project: The run.
        reporter: Where progress goes.
    """

    project: Project
    reporter: Reporter

    def draw_options(self) -> DrawOptions:
        """Which draws of the test pairs are made, and where they are kept."""
        run, options = self.project.run, self.project.config.diagnose
        data_hash = self.project.data_hash
        return DrawOptions(run.draws, options.draws, options.seed, weights_hash(run), data_hash)

    def observations(self) -> list[DataSets]:
        """Every observation of the YAML that can be read."""
        layout, sets = read_plan(self.project.data_run).layout, list[DataSets]()
        for observation in self.project.observations:
            try:
                sets.append(self.project.observe(observation, layout))
            except DataError as error:
                why = f"is left out: {error.where} {error.what}"
                self.reporter.warn(f"observation {observation.name} {why}")
        return sets

    def test_quantities(self) -> TestQuantities | None:
        """The simulator file's own test quantities, if it has any."""
        source = self.project.source
        function = source.optional("test_quantities")
        if function is None:
            return None
        return TestQuantities(function, source.path)

    def joint(self, posterior: Posterior) -> JointModel:
        """The posterior and the learned likelihood."""
        return JointModel(posterior, likelihood_of(self.project, self.reporter))

    def train_on(self, count: int) -> Posterior:
        """The same network trained on fewer pairs.

        Its run folder is its own and resumes like any training.
        """
        part = self._part(count)
        train(part, self.reporter)
        return posterior_of(part, self.reporter)

    def _part(self, count: int) -> Project:
        """The same project with fewer training pairs, read from the same shards."""
        project, config = self.project, self.project.config
        shards = str(project.data_run.path.resolve())
        simulate = config.simulate.model_copy(update={"train": count, "from_": shards})
        machine = config.machine.model_copy(update={"tracking": []})
        # of another model there may be an earlier budget
        name = f"{count}-{project.model_hash[:12]}"
        changes = {"name": name, "simulate": simulate, "machine": machine}
        run = RunDir(project.run.diagnose / "budget" / name)
        return Project(config.model_copy(update=changes), run, project.base)
