# Every target works on a machine with Python 3.11 or newer and a package index, nothing else.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO_RUN ?= demo-run
OUT ?= gpu-results

.PHONY: help install install-dev demo test check lint types layers format bench gpu lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dlib,dev]'
	@touch $@

install: $(VENV)/.installed  ## make .venv/ with the pinned versions

install-dev: $(VENV)/.installed-dev  ## the same, with the dlib extra and the tools for tests and checks

demo: install  ## the whole road on a drawn world with known truth; writes demo-run/report.html
	$(VENV)/bin/scanner demo --out $(DEMO_RUN) --force

# Two workers already keep two cores busy: no library needs threads of its own.
test: install-dev  ## run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadgroup

check: lint types layers  ## style, types and import contracts

lint: install-dev  ## ruff: style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: install-dev  ## mypy, strict
	$(VENV)/bin/mypy

layers: install-dev  ## who may import whom
	$(VENV)/bin/lint-imports --no-cache

format: install-dev  ## rewrite in the house format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: install-dev  ## run the benchmarks that need no outside data (see benchmarks/README.md)
	$(PY) benchmarks/bench_search.py --drawn 1000 --threshold 0.75 --rows 100000 --name bench_search_drawn

gpu:  ## run what needs a CUDA device into gpu-results/ (or OUT=...); needs torch, numpy and pytest, no install
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py --out "$(OUT)"

lock:  ## renew constraints.txt from a clean environment
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet torch==2.13.0 && $(VENV)-lock/bin/pip install --quiet -e '.[dlib,dev]'
	$(VENV)-lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -viE '^(nvidia|triton|cuda)' > constraints.txt
	rm -rf $(VENV)-lock

clean:  ## remove what the targets made
	rm -rf $(VENV) $(VENV)-lock $(DEMO_RUN) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
