PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Small convolutions gain nothing from more threads than two.
export OMP_NUM_THREADS ?= 2

.PHONY: help install format check test test-all demo study faithfulness networks attacks regimes benchmark

help:  ## Show the commands.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(READY)  ## Make the environment in .venv.

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(READY)  ## Train three regimes on the embedded sample, attack their explanations, and report the comparison.
	@$(BIN)/python scripts/compare.py demo

study: $(READY)  ## The same, longer; writes results/study and the README's table.
	@$(BIN)/python scripts/compare.py study

faithfulness: $(READY)  ## Score every explanation by insertion and deletion; writes the tables of docs/faithfulness.md.
	$(BIN)/python scripts/faithfulness.py

networks: $(READY)  ## Run every explanation on eight networks; writes the tables of docs/attributions.md.
	$(BIN)/python scripts/networks.py

attacks: $(READY)  ## Attack the demo's networks in every way; writes the tables of docs/attacks.md.
	for file in scripts/attacks.py scripts/soft_coverage.py scripts/exiaa.py benchmarks/attack_strength.py; do \
		$(BIN)/python $$file || exit 1; done

regimes: $(READY)  ## Train under every regime for the same number of steps; writes the tables of docs/regimes.md.
	$(BIN)/python scripts/regimes.py && $(BIN)/python scripts/fooling.py

test: $(READY)  ## Run the default tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

test-all: $(READY)  ## Run the slow tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "slow and not gpu"

check: $(READY)  ## Check style, types and layers.
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(READY)  ## Format the code.
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

benchmark: $(READY)  ## Print times as ratios.
	for file in benchmarks/*.py; do $(BIN)/python $$file; done
