"""Every config: it loads, its simulator, network and data fit each other, and its header says what
to type and to expect."""

import pytest

from sbiwb.project.opening import open_project
from sbiwb.workflow.check import check
from tests.simulators.loaded import CONFIGS

DATA_SETS = {
    "influenza": {"outbreak": 1},
    "lynx_hare": {"hudson_bay": 1},
    "choice": {"people": 28},
    "noisy_sine": {"places": 33},
    "sine_line": {"sine": 1},
    "sine_network": {"sine": 1},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_preflight(path, tmp_path):
    project = open_project(
        path,
        settings=["train.batch_size=32", "machine.threads=1", "machine.device=cpu"],
        runs=tmp_path,
    )
    checked = check(project)
    assert project.config.name == path.stem
    assert checked.failure_rate == 0
    assert checked.observations == DATA_SETS.get(path.stem, {})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_header(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert "?" in header[0]
    assert f"sbiwb run configs/{path.name}" in header[1] and "minute" in header[1]
    assert "expect" in " ".join(header).lower()


def test_real_data_name_their_source():
    about = (CONFIGS[0].parent / "DATA.md").read_text()
    assert all(f"`{path.name}`" in about for path in CONFIGS[0].parent.glob("*.csv"))
