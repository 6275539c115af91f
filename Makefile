# The five commands: demo test check bench fmt. `make check test` is the whole truth, here and in CI.
# Needs Python 3.11 or newer with venv, git and make. Everything else is installed into .venv.

MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest

.PHONY: help venv dev demo test test-all check bench torture sim histories fmt

help: venv
	@echo 'make demo      a whole run on scripted model replies, in half a minute'
	@echo 'make test      the tests                make test-all   with the slow ones'
	@echo 'make check     lint, types, imports     make fmt        format, and mend what can be mended'
	@echo 'make bench     loom on this disk        make torture    faults of every kind, on this disk'
	@echo 'make bench PEERS=1                      beside LangGraph, DBOS and Restate'
	@echo 'make sim       the simulation: SEED=7 STORY=all, SEEDS=2000'

demo: venv
	@$(BIN)/loom demo $(ARGS)

test: dev
	$(PYTEST) -n auto -m 'not slow' $(ARGS)

test-all: dev
	$(PYTEST) -n auto $(ARGS)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/lint-imports --no-logo

bench: venv
	@$(if $(PEERS),$(BIN)/python tests/bench/peers/compare.py,$(BIN)/loom bench) $(ARGS)

torture: venv
	@$(BIN)/loom torture $(ARGS)

sim: dev
	@PYTHONPATH=tests $(BIN)/python -m harness.sim $(if $(SEED),$(SEED),--seeds $(or $(SEEDS),300)) $(if $(STORY),--story '$(STORY)') $(ARGS)

histories: dev
	@$(BIN)/python tests/replay/record.py $(ARGS)

fmt: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamps are older than pyproject.toml exactly when an installation is due. What `dev` installs holds `venv` too.
venv: .venv/.installed
dev: .venv/.installed-dev

.venv/.installed: pyproject.toml | .venv/bin/python
	@echo 'Installing loom into .venv (once, and again when pyproject.toml changes) …'
	@$(PIP) install --editable .
	@touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	@echo 'Installing loom and its tools into .venv (once, and again when pyproject.toml changes) …'
	@$(PIP) install --editable '.[dev]'
	@touch .venv/.installed $@

# PYTHON=… names the interpreter; else the first of these that is 3.11 or newer.
.venv/bin/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    "$$python" -c 'import venv, ensurepip' 2>/dev/null || : "$${lacking:=$$python}"; \
	    "$$python" -c 'import venv, ensurepip' 2>/dev/null || continue; \
	    echo "Creating .venv with $$("$$python" --version) …"; \
	    exec "$$python" -m venv --clear .venv; \
	done; \
	if [ -n "$$lacking" ]; then \
	    echo "loom needs the venv module, which $$lacking lacks here: install it (Debian, Ubuntu: apt install python3-venv)." >&2; \
	else \
	    echo 'loom needs Python 3.11 or newer: install it (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.' >&2; \
	fi; exit 1
