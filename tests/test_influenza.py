"""The main job on real data, against the published posterior and the exact one."""

import json
from pathlib import Path

import pytest

from sbiwb.project.observation_choice import named_observations
from sbiwb.project.opening import open_project
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.sample import from_file, sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train

CONFIG = Path(__file__).parents[1] / "configs" / "influenza.yaml"
PUBLISHED = {
    "beta": (1.73, 0.05),
    "gamma": (0.54, 0.05),
    "R0": (3.22, 0.28),
    "phi_inv": (0.14, 0.07),
}  # Grinsztajn et al. 2021
EXACT = {
    "beta": (1.7349, 0.0529),
    "gamma": (0.5420, 0.0454),
    "R0": (3.2224, 0.2760),
    "phi_inv": (0.1375, 0.0748),
}  # by quadrature
TWO_WAVES = [
    [3, 30, 200, 300, 150, 20, 3, 2, 10, 80, 250, 280, 100, 20],
    [3, 8, 26, 76, 225, 298, 120, 20, 4, 12, 60, 220, 290, 120],
    [5, 40, 180, 320, 180, 40, 8, 8, 40, 180, 320, 180, 40, 8],
]  # no epidemic among 763 boys does this


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_outbreak_agrees_with_the_published_posterior(tmp_path, recorder, seed):
    project = open_project(CONFIG, settings=[f"train.seed={seed}"], runs=tmp_path)
    simulate(project, recorder)
    train(project, recorder)
    [found] = sample(project, named_observations(project, None), recorder, draws=20_000, seed=0)
    rows = {row.name: row for row in found.rows}
    for name, (mean, sd) in PUBLISHED.items():
        print(
            f"seed {seed}  {name:8} {rows[name].mean:.4f} ± {rows[name].sd:.4f}   published "
            f"{mean} ± {sd}   exact {EXACT[name]}"
        )
        assert abs(rows[name].mean - mean) < 0.5 * sd, name
        assert abs(rows[name].sd / sd - 1) < 0.25, name
    assert not found.warnings
    for number, counts in enumerate(TWO_WAVES):
        file = tmp_path / f"waves{number}.csv"
        file.write_text("\n".join(["in_bed", *map(str, counts)]))
        [odd] = sample(
            project,
            [from_file(file, group_by="", columns=[], context=[])],
            recorder,
            draws=100,
            seed=0,
        )
        assert any("unlike the simulations" in warning for warning in odd.warnings), counts
    assert diagnose(project, recorder).verdict == "pass"
    assert json.loads(project.run.numbers.read_bytes())["n"] == 1000
