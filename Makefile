# `make` prints what can be done. Everything that is generated goes to _build/ and .venv/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
JOBS ?= 2
NOTEBOOK ?=
ARGS ?=

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.metamerlib-installed
BUILD := $(PY) book/tools/build.py

# One thread per process: parallelism is by process, and waiting threads must not spin.
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0

.PHONY: help install book site run publish full test lint unit clean distclean

help:
	@echo 'make book                    set up, compute every notebook live on small embedded graphs, build _build/quick/html'
	@echo 'make site                    build the published book from the saved notebooks, computing nothing: _build/html'
	@echo 'make run NOTEBOOK=name ARGS="-p graphs karate"'
	@echo '                             run one notebook with parameters of your own; kept, with its page, in _build/runs'
	@echo 'make full NOTEBOOK=name      compute what is missing on the real graphs and add it to results/'
	@echo 'make publish NOTEBOOK=name   rerun a notebook on results/ and save it in place, outputs and all'
	@echo 'make test                    lint, types, both books, saved notebooks, unit tests'
	@echo 'make clean                   remove _build/ (make distclean: the virtual environment too)'
	@echo
	@echo 'Variables: PYTHON=python3.12  VENV=.venv  PIP_ARGS="..." (passed to pip install)  JOBS=2'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)."; \
	  echo 'Name another one, for example: make book PYTHON=python3.12'; exit 1; }
	@echo 'Setting up $(VENV): about 2 minutes, or longer on a slow line (on Linux the default PyTorch is several'
	@echo 'gigabytes; see README.md for the small one). Progress: tail -f $(VENV)/install.log'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { rm -rf "$(VENV)"; \
	  echo "The virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[book,test]' \
	  > $(VENV)/install.log 2>&1 || { tail -n 25 $(VENV)/install.log; \
	  echo 'The installation failed: its last lines are above, all of them in $(VENV)/install.log'; exit 1; }
	@touch $@
	@echo 'Set up.'

book: $(INSTALLED)
	@$(BUILD) quick --jobs $(JOBS)

site: $(INSTALLED)
	@$(BUILD) site

run: $(INSTALLED)
	@$(BUILD) run "$(NOTEBOOK)" $(ARGS)

full: $(INSTALLED)
	@$(BUILD) full "$(NOTEBOOK)" $(ARGS)

publish: $(INSTALLED)
	@$(BUILD) publish "$(NOTEBOOK)"

lint: $(INSTALLED)
	@echo 'Style and types: about 20 seconds'
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

unit: $(INSTALLED)
	@$(PY) -m pytest -q -n $(JOBS) --ignore=tests/book

# Both books first, so that the last line printed is the one that closes the tests.
test: lint
	@$(BUILD) quick --fresh --jobs $(JOBS)
	@$(BUILD) site
	@$(BUILD) validate
	@echo 'Tests: several minutes'
	@METAMERLIB_BOOKS_BUILT=1 $(PY) -m pytest -q -n $(JOBS) $(ARGS)

clean:
	rm -rf _build

distclean: clean
	rm -rf .venv
