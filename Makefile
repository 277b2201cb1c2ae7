# Two commands for a fresh machine: `make demo` and `make test`. Each sets up what it
# needs in .venv from pyproject.toml, pinned by constraints.txt. `make test-all` adds
# the large tests, before an issue is closed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet -c constraints.txt
export TF_CPP_MIN_LOG_LEVEL ?= 2
# TensorFlow leaves it off on CPUs without AVX-512 VNNI, where it is slower for that.
export TF_ENABLE_ONEDNN_OPTS ?= 1

.PHONY: demo test test-all coverage docs lint format clean help

help:
	@echo "make demo      set up, train SDAResNet20 on real digits, export, predict"
	@echo "make test      set up, lint, run the quick tests: all that guards correctness"
	@echo "make test-all  the same, then full-size networks, notebooks, long searches"
	@echo "make docs      set up, build the documentation into build/site"
	@echo "make coverage  the quick tests again, with the share of lines that they run"
	@echo "make lint      ruff (code, docstrings) and mypy (types)"
	@echo "make format    format the code"
	@echo "make clean     remove the environment and the demo's files"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(0 if (3, 11) <= v <= (3, 13) else "keras_sda needs Python 3.11, \
	  3.12 or 3.13, and %d.%d was found: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing keras_sda with all extras into $(VENV) (about 3 GB) ..."
	$(INSTALL) -e '.[all]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing keras_sda with its test tools into $(VENV) (about 3 GB) ..."
	$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.all $(VENV)/.docs

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the documentation is built with into $(VENV) ..."
	$(INSTALL) -e '.[docs]'
	@touch $@

demo: $(VENV)/.all
	$(BIN)/python applications/demo.py --output runs/demo

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Marks: see tests/conftest.py. The seconds of each room are printed at the end, with
# the budgets of tests/budgets.py.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

test: lint
	$(PYTEST) -m "not large and not extra_large"

test-all: test
	$(PYTEST) -m "large or extra_large"

# Fails on any warning: a dead link, a docstring that cannot be read.
docs: $(VENV)/.docs
	$(BIN)/python tools/build_docs.py

# Reported, not enforced, and apart from `make test`, which it would slow down.
coverage: $(VENV)/.test
	$(PYTEST) -m "not large and not extra_large" --cov --cov-report=term

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs build dist .coverage *.egg-info
