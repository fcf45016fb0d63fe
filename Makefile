PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Small convolutions gain nothing from more threads than two.
export OMP_NUM_THREADS ?= 2

.PHONY: help install format check test test-all demo study faithfulness networks attacks regimes methods lens chen attexplore imagenet benchmark

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

methods: $(READY)  ## List every class with source and options; writes docs/methods.md.
	$(BIN)/python scripts/methods.py

lens: $(READY)  ## Locality and diversity of explanations; writes tables and figures of docs/lens.md.
	$(BIN)/python scripts/lens_study.py

chen: $(READY)  ## Accuracy and explanations of four regimes on 20,000 images; the tables of Chen et al. in docs/lens.md.
	$(BIN)/python scripts/chen.py

attexplore: $(READY)  ## AttEXplore beside what its paper compares it with; writes the tables of docs/attexplore.md.
	$(BIN)/python scripts/attexplore_study.py

imagenet: $(READY)  ## eXIAA and the top-k attack with DATA=folder WEIGHTS=file; writes the tables of docs/reproduce.md.
	$(BIN)/python scripts/imagenet.py --data $(DATA) --weights $(WEIGHTS)

# Neighbours stay in one process, so that what they share is made once.
test: $(READY)  ## Run the default tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: $(READY)  ## Run the slow tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "slow and not gpu"

check: $(READY)  ## Check style, types and layers.
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(READY)  ## Format the code.
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

benchmark: $(READY)  ## Print times as ratios.
	for file in benchmarks/*.py; do $(BIN)/python $$file; done
