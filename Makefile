# `make quickstart` and `make test` do all their own set-up; `make setup` does nothing the second time.
# The first of these that is there and can make a virtual environment; the tests have been run on 3.11.
PYTHONS := python3.11 python3.12 python3.13
PYTHON ?= $(shell for name in $(PYTHONS); do $$name -c 'import ensurepip' >/dev/null 2>&1 && echo $$name && break; done)
# Where torch comes from: nothing for PyPI (on Linux with CUDA, some gigabytes), or a name of PyTorch's own index, such as cpu.
TORCH ?=
BIN := .venv/bin
STAMP := .venv/.setup-done
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SETUP_LOG := setup.log
SOURCES := platform tests benchmarks examples
# Some thousand processes import the same code: it is compiled once, whatever the shell says of byte code.
unexport PYTHONDONTWRITEBYTECODE
# Runs one step of the set-up: its name on one line, all it prints into the log, the log's end where it fails.
define step
@echo "setup: $(1)"
@{ $(2); } >>$(SETUP_LOG) 2>&1 || { echo "setup: failed; the end of $(SETUP_LOG):"; tail -n 20 $(SETUP_LOG); exit 1; }
endef

.PHONY: help setup quickstart rules check test faults figures clean

help:  ## List the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## Make .venv with every dependency at its pinned version; TORCH=cpu without CUDA.

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "setup: none of $(PYTHONS) is on PATH with its venv; install one or say make PYTHON=..."; exit 2; }
	@: >$(SETUP_LOG)
	$(call step,a virtual environment in .venv,$(PYTHON) -m venv .venv)
	$(call step,what builds packages,$(PIP) install -c constraints.txt hatchling editables setuptools wheel)
	$(if $(TORCH),$(call step,torch from PyTorch's index $(TORCH),$(PIP) install --no-compile --no-deps -c constraints.txt --index-url https://download.pytorch.org/whl/$(TORCH) torch))
	$(call step,every package at the version of constraints.txt (about a minute; $(SETUP_LOG) says how far),$(PIP) install --no-compile -c constraints.txt --no-build-isolation -e '.[dev]')
	$(call step,their byte code on all cores (about a minute),$(BIN)/python -m compileall -q -j 0 .venv/lib || true)
	@touch $(STAMP)

quickstart: setup  ## The main job: prepare, tune, train and serve a small GPT, then ask it.
	$(BIN)/platform submit jobs/quickstart.yaml
	@echo
	$(BIN)/platform ask stdlib-complete "    def __init__(self, name" --max-tokens 96 --temperature 0.4
	@echo
	@$(BIN)/platform endpoints stdlib-complete

# tests/together.py says which tests stay together.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder
# A second thread in tensors as small as those of tests only costs: workers of a job have one thread too.
check test faults: export OMP_NUM_THREADS := 1

rules: setup  ## Format, lint, types, layers: what no test needs to run for.
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

check: rules  ## The rules, then the fast tests.
	$(PYTEST) -q -m "not slow and not faults"

test: rules  ## The rules, then all tests but the second suite, end to end included (20 to 40 minutes on 2 cores).
	$(PYTEST) --durations=25

faults: setup  ## Break running trainings and sweeps in every way we know, and count what survives (over an hour).
	$(BIN)/pytest -m faults -s tests/faults tests/e2e tests/cli tests/runtime

figures: setup  ## The measured figures beside their goals.
	@$(BIN)/python benchmarks/results.py

clean:  ## Remove .venv and caches; runs and data stay.
	rm -rf .venv setup.log .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
