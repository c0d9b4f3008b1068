.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help bench test check dashboard wheel clean

help: ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

bench: $(VENV)/run ## Set up, then run the quick suite: cost and convergence in some 6 minutes
	$(BIN)/kfc-bench run quickstart

test: $(VENV)/dev ## Set up, then run the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests --ignore tests/interpreter
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -n 2 tests/interpreter

check: $(VENV)/dev ## Lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dashboard: $(VENV)/run ## Open the dashboard over your results, or over the committed ones if you have none
	$(BIN)/kfc-bench dashboard $(wildcard results/quickstart)

wheel: $(VENV)/dev ## Build the wheel and the source distribution
	$(BIN)/python -m build

clean: ## Remove the virtual environment and what was built
	rm -rf $(VENV) build dist

$(VENV)/python: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'KFC Bench needs Python 3.11 or newer; try: make PYTHON=python3.12'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run: $(VENV)/python
	@echo 'Installing into $(VENV) (torch is the largest part) ...'
	$(PIP) torch
	$(PIP) -e '.[dashboard]'
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(PIP) -e '.[dashboard,data,dev,peers]'
	@touch $@
