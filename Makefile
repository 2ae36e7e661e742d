# EdgeFlow. `make` lists the verbs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
FAULT_S ?= 600
HOURS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NODE_MODULES := web/node_modules/.package-lock.json
TEST_NODE := $(patsubst %/package.json,%/node_modules/.package-lock.json,$(wildcard tests/drivers/*/node/package.json))
PAGES := edgeflow/web/pages/central/index.html # the last file that the build of the pages writes

help: ## list the verbs
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: setup ## run the whole product here: simulated plant, agent, central server (Ctrl-C ends it)
	@exec $(BIN)/edgeflow demo

test: system check $(TEST_NODE) ## everything CI runs: checks, golden cases of the flows, tests with real servers
	@echo "== golden cases"
	$(BIN)/edgeflow test
	echo "== tests"
	$(BIN)/pytest -m alone
	$(BIN)/pytest -m "not alone" -n auto --maxprocesses 4 --no-loadscope-reorder

check: setup ## format, lint, types, layers, pages
	@echo "== checks"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports | sed -n '/^Contracts$$/,$$p'
	cd web && npm run --silent check

format: setup ## format the Python code
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY) $(PAGES) ## Python environment in .venv, and the pages

pages: $(PAGES) ## the pages alone, from web/ into the package

system: ## what the tests need from the system: installs it as root, else lists it
	@scripts/system

wheel: setup ## build the wheel, with its pages, into dist/
	@rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	ls -sh dist

image: ## build the container image without a registry, start it, ask it (docs/packaging.md)
	@scripts/image

install-trial: wheel ## install agent and central server as docs/packaging.md says, on a Debian booted in a folder
	@scripts/install-trial

aarch64: wheel ## install and start the agent on an emulated aarch64 machine (docs/packaging.md)
	@scripts/aarch64

docs: setup ## the handbook with its generated references, and the page for man, into site/
	@scripts/docs

coverage: setup system $(TEST_NODE) ## the tests once more, with what they reach, into htmlcov/
	@$(BIN)/pytest -n auto --maxprocesses 4 --cov --cov-report=term --cov-report=html

release: setup ## everything of a release: checks, tests, wheel, handbook, image, installation; then says what to tag
	@scripts/release

lock: setup ## write requirements*.txt anew from pyproject.toml
	@scripts/lock

faults: setup system ## kill, cut and hang everything, each Modbus fault for FAULT_S seconds (docs/faults.md)
	@$(BIN)/python tests/system/campaign.py
	$(BIN)/python tests/devices/modbus_campaign.py --seconds $(FAULT_S)
	EDGEFLOW_TEST_RECONNECTS=1000 $(BIN)/pytest tests/drivers -k "reconnect or opening_again"

soak: setup system ## the demo for HOURS with faults on: does memory grow?
	@$(BIN)/python tests/system/soak.py --hours $(HOURS)

bench: setup ## how fast it is here (bench/README.md)
	@$(BIN)/python bench/flow.py

clean: ## remove what was built
	@rm -rf $(VENV) edgeflow/web/pages web/node_modules tests/drivers/*/node/node_modules dist build site htmlcov .demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(READY): requirements-dev.txt pyproject.toml hatch_build.py
	@echo "== Python environment in $(VENV), about a minute"
	scripts/environment $(PYTHON) $(VENV)
	touch $@

$(NODE_MODULES): web/package.json web/package-lock.json web/.npmrc
	@echo "== tools for the pages"
	command -v npm >/dev/null || { echo "npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund --loglevel=error
	touch node_modules/.package-lock.json

$(TEST_NODE): %/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@echo "== what the tests talk to, from npm: $*"
	command -v npm >/dev/null || { echo "npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	touch node_modules/.package-lock.json

$(PAGES): $(NODE_MODULES) $(wildcard web/*.json web/*.ts) $(shell find web/src)
	@echo "== pages"
	cd web && npm run --silent build

.PHONY: help demo test check format setup pages system wheel image install-trial aarch64 docs coverage release lock faults soak bench clean
