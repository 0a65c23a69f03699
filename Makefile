# Two commands set up everything on a fresh machine: `make lab` and `make test`.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
TUTORIAL := $(BIN)/python -m tutorial_utils

.DEFAULT_GOAL := help
.PHONY: help install prepare lab test test-slow lint tools run notebooks bench search claims drift peers families load soak scale results sheet clean

help: ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed ## create the virtual environment and install the tested versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (some minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[learn,serve,scale,test]'
	@touch $@

prepare: install ## fetch the assets, fine-tune the classifier once, build the models
	$(TUTORIAL) prepare

lab: prepare ## set up, then open your own copies of the lessons in JupyterLab
	$(TUTORIAL) check
	$(TUTORIAL) lab $(LAB_OPTIONS)

lint: install ## check style, notebooks included, types, and that packages import downwards only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Nobody's own guesses may take part.
PYTEST := TUTORIAL_PACE=quick TUTORIAL_WORKBOOK=$(CURDIR)/artifacts/solved $(BIN)/python -m pytest
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=300
# Outputs are compared in copies with every exercise solved, so one run checks both.
CORE := $(wildcard notebooks/0[0-5]_*.ipynb)
FURTHER := $(filter-out $(CORE),$(wildcard notebooks/*.ipynb))
SOLVED := artifacts/solved

test: prepare lint tools ## set up, then run the tests and check the stored outputs of the core lessons
	$(PYTEST) -n 2 --dist loadfile -m "not slow" tests
	$(TUTORIAL) solve --into $(SOLVED)
	$(PYTEST) $(NBVAL) $(CORE:notebooks/%=$(SOLVED)/%)

test-slow: prepare tools ## long tests (soak, replicas, killed runs) and the outputs of the further lessons
	$(PYTEST) -m slow tests
	$(TUTORIAL) solve --into $(SOLVED)
	$(PYTEST) $(NBVAL) $(FURTHER:notebooks/%=$(SOLVED)/%)

tools: ## fetch Prometheus, which some tests run, from the distribution; without root
	deploy/fetch-prometheus .tools

run: prepare ## run the whole series headless; print the ledger and save it as a figure
	$(TUTORIAL) notebooks --into artifacts/run
	$(TUTORIAL) ledger --figure artifacts/run/ledger.png

notebooks: prepare ## execute all notebooks, store their outputs, and show their ledger in README
	$(TUTORIAL) notebooks
	$(BIN)/python -m benchmarks.readme_ledger

# What is measured goes to artifacts/results/<machine>/; only `make results` stores it.
bench: prepare ## measure all steps again, and the same candidate twice
	$(BIN)/python -m benchmarks.steps
	$(BIN)/python -m benchmarks.aa

search: prepare ## search fusions, quantizations and settings, and measure the roofline
	$(BIN)/python -m benchmarks.search

claims: prepare ## measure sixteen popular claims again
	$(BIN)/python -m benchmarks.claims

drift: prepare ## measure false alarms and delays of drift detection on real sentences
	$(BIN)/python -m benchmarks.drift

peers: prepare ## compare with other tools, in an environment of its own
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --constraint constraints.txt \
		--requirement benchmarks/requirements-peers.txt --editable '.[learn]'
	$(VENV)-peers/bin/python -m benchmarks.peers

families: prepare ## run optimize on each supported family at its base size
	$(BIN)/python -m benchmarks.families

load: prepare ## offer the service more than it can take, and compare it with other servers
	$(PYTHON) -m venv $(VENV)-servers
	$(VENV)-servers/bin/python -m pip install --quiet --constraint constraints.txt \
		--requirement benchmarks/requirements-servers.txt
	$(BIN)/python -m benchmarks.load

soak: prepare ## send bad requests, then half an hour of mixed load (MINUTES=30), looking for leaks
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

scale: prepare ## measure the service behind Ray's proxy; estimate machines and cost for a few loads
	$(BIN)/python -m benchmarks.scale.ray_proxy
	$(BIN)/python -m benchmarks.scale

results: install ## store what was measured in benchmarks/results/<machine>/, for README and docs
	$(BIN)/python -m benchmarks.store

sheet: ## print docs/cheat-sheet.md as HTML and PDF, in an environment of its own
	$(PYTHON) -m venv $(VENV)-sheet
	$(VENV)-sheet/bin/python -m pip install --quiet --constraint constraints.txt \
		--requirement benchmarks/requirements-sheet.txt --editable .
	$(VENV)-sheet/bin/python -m benchmarks.cheat_sheet

clean: ## remove the environment and everything that was downloaded or built
	rm -rf $(VENV) $(VENV)-peers $(VENV)-servers $(VENV)-sheet .tools artifacts
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .grimp_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
