# `make quickstart` and `make test` do all their own set-up; `make setup` does nothing the second time.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.setup-done
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SETUP_LOG := setup.log
# Some thousand processes import the same code: it is compiled once, whatever the shell says of byte code.
unexport PYTHONDONTWRITEBYTECODE
# Runs one step of the set-up: its name on one line, all it prints into the log, the log's end where it fails.
define step
@echo "setup: $(1)"
@{ $(2); } >>$(SETUP_LOG) 2>&1 || { echo "setup: failed; the end of $(SETUP_LOG):"; tail -n 20 $(SETUP_LOG); exit 1; }
endef

.PHONY: help setup quickstart check test faults figures clean

help:  ## List the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## Make .venv with every dependency at its pinned version.

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) is not on PATH; install Python 3.11 or say make PYTHON=..."; exit 2; }
	@: >$(SETUP_LOG)
	$(call step,a virtual environment in .venv,$(PYTHON) -m venv .venv)
	$(call step,what builds packages,$(PIP) install -c constraints.txt hatchling editables setuptools wheel)
	$(call step,every package at the version of constraints.txt (about a minute; $(SETUP_LOG) says how far),$(PIP) install --no-compile -c constraints.txt --no-build-isolation -e '.[dev]')
	$(call step,their byte code on all cores (about a minute),$(BIN)/python -m compileall -q -j 0 .venv/lib || true)
	@touch $(STAMP)

quickstart: setup  ## The main job: prepare, tune, train and serve a small GPT, then ask it.
	$(BIN)/platform submit jobs/quickstart.yaml
	@echo
	$(BIN)/platform ask stdlib-complete "    def __init__(self, name" --max-tokens 96 --temperature 0.4
	@echo
	@$(BIN)/platform endpoints stdlib-complete

# A second thread in tensors as small as those of tests only costs: workers of a job have one thread too.
check test faults: export OMP_NUM_THREADS := 1

check: setup  ## Format, lint, types, layers, fast tests.
	$(BIN)/ruff format --check platform tests benchmarks
	$(BIN)/ruff check platform tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not slow and not faults"

test: setup  ## All tests but the second suite, end to end included (20 to 40 minutes on 2 cores).
	$(BIN)/pytest --durations=25

faults: setup  ## Break running trainings and sweeps in every way we know, and count what survives (over an hour).
	$(BIN)/pytest -m faults -s tests/faults tests/e2e tests/cli tests/runtime

figures: setup  ## The measured figures beside their goals.
	@$(BIN)/python benchmarks/results.py

clean:  ## Remove .venv and caches; runs and data stay.
	rm -rf .venv setup.log .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
