# Two commands do all the set-up: `make run` and `make test`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
HOME_DIR := $(or $(NOISEGATE_HOME),.noisegate)
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -qq

# Nobody is told that we run: telemetry of what we depend on is off.
export DO_NOT_TRACK := 1
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: run test lint types unit bench generate lock clean test-packages help

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: $(READY) ## Simulate a history (once), learn from it, show what it achieved
	@$(BIN)/noisegate simulate --once
	@$(BIN)/noisegate retrain --origin simulated

test: $(READY) test-packages lint types ## Everything: style, types, layers, tests
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered $(PYTEST)

lint: $(READY) ## Style and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## Types
	$(BIN)/mypy

bench: $(READY) ## Tables of the main job: speed, memory
	$(BIN)/python -m benchmarks.main_job $(BENCH)

generate: $(READY) ## Write docs/configuration.md anew (the picture: python -m noisegate.cli.generate --picture)
	$(BIN)/python -m noisegate.cli.generate

$(READY): requirements.lock pyproject.toml
	@bash scripts/setup.sh $(VENV)
	@touch $@

# What tests run for real; without them these tests skip, naming the package.
test-packages:
	@bash scripts/test_packages.sh

lock: ## Resolve pyproject.toml anew and pin what comes out
	python3 -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install -q -e '.[dev]'
	(echo '# What is installed and tested, all versions pinned; `make lock` writes it anew from pyproject.toml.'; \
	 $(VENV)-lock/bin/pip freeze --exclude-editable | sed 's/+cpu//') > requirements.lock
	rm -rf $(VENV)-lock

clean: ## Remove what was installed and learned here
	rm -rf $(VENV) $(HOME_DIR) .mypy_cache .ruff_cache .pytest_cache
