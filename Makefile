# Two commands set up everything on a fresh machine: `make lab` and `make test`.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
TUTORIAL := $(BIN)/python -m tutorial_utils

.DEFAULT_GOAL := help
.PHONY: help install prepare lab test lint run notebooks bench search claims peers scale clean

help: ## say what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed ## create the virtual environment and install the tested versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (some minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[learn,serve,scale,test]'
	@touch $@

prepare: install ## fetch the assets, fine-tune the classifier once, build the models
	$(TUTORIAL) prepare

lab: prepare ## set up, then open the first notebook in JupyterLab
	$(TUTORIAL) check
	$(BIN)/jupyter lab $(LAB_OPTIONS) notebooks/00_start_here.ipynb

lint: install ## check style, notebooks included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: prepare lint ## set up, then run all tests and check every stored output of the notebooks
	TUTORIAL_PACE=quick $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=300 tests notebooks

run: prepare ## run the whole series headless; print the ledger and save it as a figure
	$(TUTORIAL) notebooks --into artifacts/run
	$(TUTORIAL) ledger --figure artifacts/run/ledger.png

notebooks: prepare ## execute all notebooks and store their outputs
	$(TUTORIAL) notebooks

bench: prepare ## measure all steps anew, and the A/A run; results go to benchmarks/results
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/scale_out.py

search: prepare ## search fusions and settings, and measure the roofs; results go to benchmarks/results
	$(BIN)/python benchmarks/search.py

claims: prepare ## measure sixteen popular claims anew; writes docs/claims.md
	$(BIN)/python benchmarks/claims.py

scale: install ## from texts a second on a core to machines and cost; writes docs/scale-out.md
	$(BIN)/python benchmarks/scale_out.py

peers: prepare ## measure ours beside what else there is, in an environment of its own
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --constraint constraints.txt \
		--requirement benchmarks/requirements.txt --editable '.[learn]'
	$(VENV)-peers/bin/python benchmarks/peers.py
	$(BIN)/python benchmarks/scale_out.py

clean: ## remove the environment and everything that was downloaded or built
	rm -rf $(VENV) $(VENV)-peers artifacts .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
