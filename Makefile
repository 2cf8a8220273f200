# Everything a developer or a new user runs. Each target sets up what it needs.
PYTHON ?= python3
VENV    := .venv
LOWEST  := .lowest
BIN     := $(VENV)/bin
READY   := $(VENV)/.installed
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP     := $(BIN)/python $(INSTALL)

.PHONY: help install demo test check lowest cluster faults slow calibration bench schema simulators clean
.DEFAULT_GOAL := help

help:  ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(READY)  ## Make .venv with sbiwb, its tools, and the exact versions of constraints.txt

# torch first and by its exact version: a range would take the newest build with gigabytes of CUDA
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@

demo: install  ## The main job on real data: the 1978 influenza outbreak, from simulations to a posterior
	$(BIN)/sbiwb run configs/influenza.yaml

check: install  ## Formatting, lint, types, the floors of the architecture, and how the code reads
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_floors.py tests/test_style.py

test: check  ## Every contract and one case of each fault, in minutes
	$(BIN)/pytest -m "not slow and not cluster" -n 4 --dist worksteal

lowest:  ## The fast tests in an environment of the lowest versions that pyproject.toml allows
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(PYTHON) -m tests.lowest > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python $(INSTALL) "$$(grep '^torch==' constraints.txt)"
	$(LOWEST)/bin/python $(INSTALL) -c $(LOWEST)/constraints.txt -e '.[dev]'
	$(LOWEST)/bin/pytest -m "not slow and not cluster" -n 4 --dist worksteal

cluster: install  ## The tests on a real SLURM, started on this machine; needs slurmctld, slurmd, slurm-client, munge
	$(BIN)/pytest -m cluster

faults: install  ## Every fault of simulating and its outcome in one table, in minutes; ARGS="--quick", ARGS="3 4 hangs"
	$(BIN)/python -m tests.faults $(ARGS)

slow: install  ## The rest: all networks, statistical campaigns, calibration
	$(BIN)/pytest -m slow -s

calibration: install  ## Proof of the verdicts: false alarms and power of every check, agreement with sbi, BayesFlow, arviz-stats, tarp
	$(BIN)/python -m tests.calibration.peers --out .bench/peers.md
	$(BIN)/python -m tests.calibration.consistency --out .bench/consistency.md
	$(BIN)/python -m tests.calibration.trust --out .bench/trust.md
	$(BIN)/python -m tests.calibration.local --out .bench/local.md
	$(BIN)/python -m tests.calibration.campaign --out .bench/rates.md $(ARGS)

bench: install  ## Speed against sbi, BayesFlow and LAMPE, in environments of their own; ARGS="--quick", ARGS="--only step,draws"
	$(BIN)/python -m tests.bench.run $(ARGS)

schema: install  ## Write the JSON Schema of the YAML for editors
	$(BIN)/sbiwb schema configs/schema.json

simulators: $(patsubst simulators/%.c,simulators/build/%,$(wildcard simulators/*.c))  ## Compile the simulators that are written in C

simulators/build/%: simulators/%.c
	mkdir -p $(@D)
	$(CC) -O2 -o $@ $< -lm

clean:  ## Remove caches and the environment; runs stay
	rm -rf $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
