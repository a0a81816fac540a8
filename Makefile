# One environment in .venv, made once from the lock file and again when the lock or pyproject.toml changes.
# PYTHON names the interpreter to make it with; WORKERS the processes that run the tests.
.POSIX:

VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
WORKERS = 2
EXPERIMENT = quickstart
TESTS = tests
SUPPORTED = import sys; sys.exit(sys.version_info < (3, 11))

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /	/' | expand -t 12

setup: $(READY) ## make .venv from the lock file

backtest: $(READY) ## run a backtest (EXPERIMENT=quickstart)
	$(BIN)/python -m quantcore.backtest +experiment=$(EXPERIMENT)

test: lint ## the four gates: ruff, formatting, mypy, tests
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --benchmark-disable \
		-m "not slow and not network" --ignore=tests/benchmarks $(TESTS)

lint: $(READY) ## ruff, formatting and mypy only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY) ## the tests that run no whole command, under three minutes
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --benchmark-disable \
		-m "not integration and not slow and not network" --ignore=tests/benchmarks $(TESTS)

slow: $(READY) ## the tests that take minutes
	$(BIN)/python -m pytest -q -m "slow and not network" --benchmark-disable --ignore=tests/benchmarks $(TESTS)

bench: $(READY) ## measure speed against DESIGN's table
	$(BIN)/python -m pytest -q tests/benchmarks

format: $(READY) ## write the formatting and what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY) ## resolve the dependencies anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove caches and unfinished runs; keeps .venv and results
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks build dist data/runs/.partial
	find quantcore strategies live tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@set -e; \
	python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
		for found in python3.11 python3.12 python3.13 python3 python; do \
			if "$$found" -c "$(SUPPORTED)" >/dev/null 2>&1; then python="$$found"; break; fi; \
		done; \
	fi; \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer was not found; name it: make PYTHON=/path/to/python3.11"; exit 1; fi; \
	if ! "$$python" -c "$(SUPPORTED)"; then echo "PYTHON must be 3.11 or newer, was $$python"; exit 1; fi; \
	if [ ! -x $(BIN)/python ]; then \
		echo "Making $(VENV) with $$python"; \
		"$$python" -m venv $(VENV); \
	fi
	@echo "Installing the locked packages into $(VENV) (about 2 GB; minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(READY)

.PHONY: help setup backtest test lint unit slow bench format lock clean
