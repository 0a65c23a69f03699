# Two commands set up everything on a fresh machine: `make lab` and `make test`.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
TUTORIAL := $(BIN)/python -m tutorial_utils

.DEFAULT_GOAL := help
.PHONY: help install prepare lab openvino test test-slow lint tools run notebooks bench search claims drift peers families load soak scale results sheet clean

help: ## list the targets and what they do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed ## create the virtual environment and install the tested versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (takes a few minutes, only once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[learn,serve,scale,test]'
	@touch $@

prepare: install ## fetch the assets, fine-tune the classifier (once), and build the models
	$(TUTORIAL) prepare

lab: prepare ## set up, then open your own copies of the lessons in JupyterLab
	$(TUTORIAL) check
	$(TUTORIAL) lab $(LAB_OPTIONS)

openvino: install ## add OpenVINO's provider, with which INT8 is often faster on Intel processors
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[openvino]'

lint: install ## check style (notebooks too), types, and that packages only import downwards
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Keep a learner's own guesses out of the tests.
PYTEST := TUTORIAL_PACE=quick TUTORIAL_WORKBOOK=$(CURDIR)/artifacts/solved $(BIN)/python -m pytest
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=300
# We compare outputs in copies with every exercise solved, so one run checks both.
FIRST := $(wildcard notebooks/0[01]_*.ipynb)
FURTHER := $(filter-out $(FIRST),$(wildcard notebooks/*.ipynb))
SOLVED := artifacts/solved

test: prepare lint tools ## set up, then run the tests and check the stored outputs of lessons 00 and 01
	$(PYTEST) -n 2 --dist loadfile -m "not slow" tests
	$(TUTORIAL) solve --into $(SOLVED)
	$(PYTEST) $(NBVAL) $(FIRST:notebooks/%=$(SOLVED)/%)

test-slow: prepare tools ## run the long tests (soak, replicas, killed runs) and those of OpenVINO, and check the stored outputs of the other lessons
	$(PYTEST) -m slow tests
	PYTHONPATH=$(CURDIR)/.tools/openvino $(PYTEST) tests/test_openvino.py tests/test_session.py
	$(TUTORIAL) solve --into $(SOLVED)
	$(PYTEST) $(NBVAL) $(FURTHER:notebooks/%=$(SOLVED)/%)

tools: install ## fetch Prometheus (from your Linux distribution, without root) and OpenVINO for some tests
	deploy/fetch-prometheus .tools
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .tools/openvino \
		--requirement tests/requirements-openvino.txt

run: prepare ## run the whole course headless; print the ledger and save it as a figure
	$(TUTORIAL) notebooks --into artifacts/run
	$(TUTORIAL) ledger --figure artifacts/run/ledger.png

notebooks: prepare ## execute all notebooks, store their outputs, and show their ledger in the README
	$(TUTORIAL) notebooks
	$(BIN)/python -m benchmarks.readme_ledger

# Measurements go to artifacts/results/<machine>/. Only `make results` stores them in the repository.
bench: prepare ## measure all steps again, and one candidate against itself
	$(BIN)/python -m benchmarks.steps
	$(BIN)/python -m benchmarks.aa

search: prepare ## search fusions, quantizations and settings, and measure the roofline
	$(BIN)/python -m benchmarks.search

claims: prepare ## measure the sixteen popular claims again
	$(BIN)/python -m benchmarks.claims

drift: prepare ## measure how often drift detection raises false alarms, and how late it reacts
	$(BIN)/python -m benchmarks.drift

define WITH_PEERS
$(PYTHON) -m venv $(VENV)-peers
$(VENV)-peers/bin/python -m pip install --quiet --constraint constraints.txt \
	--requirement benchmarks/requirements-peers.txt --editable '.[learn]'
endef

peers: prepare ## compare with other tools, in separate environments
	$(WITH_PEERS)
	$(PYTHON) -m venv $(VENV)-optimum
	-$(VENV)-optimum/bin/python -m pip install --quiet \
		--requirement benchmarks/requirements-optimum.txt # without it the report says so
	$(VENV)-peers/bin/python -m benchmarks.peers

families: prepare ## run optimize on each supported model family at base size, and compare each with other tools
	$(WITH_PEERS)
	$(VENV)-peers/bin/python -m benchmarks.families.peers
	$(BIN)/python -m benchmarks.families

load: prepare ## overload the service, and compare it with other servers
	$(PYTHON) -m venv $(VENV)-servers
	$(VENV)-servers/bin/python -m pip install --quiet --constraint constraints.txt \
		--requirement benchmarks/requirements-servers.txt
	$(BIN)/python -m benchmarks.load

soak: prepare ## send bad requests, then mixed load for half an hour (MINUTES=30), to find leaks
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

scale: prepare ## measure the service behind Ray's proxy, and estimate machines and cost for a few loads
	$(BIN)/python -m benchmarks.scale.ray_proxy
	$(BIN)/python -m benchmarks.scale

results: install ## store the measurements in benchmarks/results/<machine>/, for the README and docs
	$(BIN)/python -m benchmarks.store

sheet: ## print docs/cheat-sheet.md as HTML and PDF, in a separate environment
	$(PYTHON) -m venv $(VENV)-sheet
	$(VENV)-sheet/bin/python -m pip install --quiet --constraint constraints.txt \
		--requirement benchmarks/requirements-sheet.txt --editable .
	$(VENV)-sheet/bin/python -m benchmarks.cheat_sheet

clean: ## remove the environments and everything that was downloaded or built
	rm -rf $(VENV) $(VENV)-peers $(VENV)-optimum $(VENV)-servers $(VENV)-sheet .tools artifacts
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .grimp_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
