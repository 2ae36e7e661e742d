# EdgeFlow. `make` lists the verbs.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PAGES := edgeflow/web/pages

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

demo: setup ## run the whole product here: simulated plant, agent, central server (Ctrl-C ends it)
	@exec $(BIN)/edgeflow demo

test: setup system ## everything CI runs: checks, unit to system tests with real servers, golden cases
	@$(MAKE) --no-print-directory check
	$(BIN)/edgeflow test
	$(BIN)/pytest

check: setup ## format, lint, types, layers, pages
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd web && npm run --silent check

format: setup ## format the Python code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

setup: $(VENV)/.installed $(PAGES)/.built ## Python environment and pages

system: ## what tests need from the system: installs it as root, else lists it
	@scripts/system

wheel: $(PAGES)/.built $(VENV)/.installed ## build the wheel, with its pages, into dist/
	@rm -rf dist && $(BIN)/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

lock: $(VENV)/.installed ## write requirements*.txt anew from pyproject.toml
	@scripts/lock

bench: setup ## how fast it is here (bench/README.md)
	@$(BIN)/python bench/flow.py

clean: ## remove what was built
	@rm -rf $(VENV) $(PAGES) web/node_modules dist .demo

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	@echo "== Python environment in $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --progress-bar on --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(PAGES)/.built: $(shell find web -path web/node_modules -prune -o -type f -print)
	@echo "== pages"
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	touch ../$@ 2>/dev/null || touch $@

.PHONY: help demo test check format setup system wheel lock bench clean
