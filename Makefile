# Two commands to know: `make quickstart` and `make test`. Both make .venv and install the project first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow lint types bench clean

quickstart: $(VENV)/.installed
	$(BIN)/ce quickstart

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# One command a figure, each beside its peer; it leaves results/speed/. Half an hour on two idle cores, 12 GB of disk.
bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed/startup.py --out results/speed
	$(BIN)/python benchmarks/speed/hog.py --out results/speed
	$(BIN)/python benchmarks/speed/gist.py --out results/speed
	$(BIN)/python benchmarks/speed/extraction.py --out results/speed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed/evaluators.py --size 5000x256 --out results/speed
	$(BIN)/python benchmarks/speed/inpainting.py --images 100 --out results/speed
	$(BIN)/python benchmarks/speed/context_index.py --contexts 10000 --out results/speed
	$(BIN)/python benchmarks/speed/pretraining.py --out results/speed
	$(BIN)/python benchmarks/speed/pretraining.py --each --out results/speed
	$(BIN)/python benchmarks/speed/growth.py --out results/speed

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ssl-ce needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 quickstart")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[faiss]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
