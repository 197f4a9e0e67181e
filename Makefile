# Every target prepares what it needs: `make demo` and `make test` run on a bare clone.
# Another Python: make env PYTHON=python3.12

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types tests drills benchmarks env lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## the whole chain on drawn pictures, up to a report
	$(PY) -m pipeline experiments/demo.toml

test: check ## the same as check

check: lint types tests ## all that a change must pass

lint: $(READY) ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(READY) ## mypy, strict
	$(PY) -m mypy

# One thread for each worker: trainings that share cores slow each other down. Bytecode
# is written whatever the shell says, because tests start many processes; plugins of
# other packages' tests stay away. A worker that dies ends the run with the name of its
# test: with files kept together, pytest-xdist 3.8 waits for ever for the next worker.
tests: $(READY) ## pytest, on several processes
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
		$(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile \
		--no-loadscope-reorder --max-worker-restart 0 -p no:hydra_pytest -p no:anyio

drills: $(READY) ## the tests that take minutes
	$(PY) -m pytest -m drill

benchmarks: $(READY) ## speed as ratios; the machine must be idle
	$(PY) -m benchmarks.ceiling
	$(PY) -m benchmarks.extraction
	$(PY) -m benchmarks.store
	$(PY) -m benchmarks.memory
	$(PY) -m benchmarks.stacking
	$(PY) -m benchmarks.peer_simsiam
	$(PY) -m benchmarks.shared_machine

env: $(READY) ## the virtual environment .venv and what it needs

$(READY): requirements.lock pyproject.toml tools/setup.sh
	@tools/setup.sh

lock: $(READY) ## requirements.lock from pyproject.toml; newest: LOCK_FLAGS=--upgrade
	.venv/bin/uv pip compile -q --python $(PY) --universal --python-version 3.11 \
		--fork-strategy fewest --generate-hashes --extra dev \
		--custom-compile-command "make lock" $(LOCK_FLAGS) \
		pyproject.toml -o requirements.lock

clean: ## delete .venv and caches; runs/ and data/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
