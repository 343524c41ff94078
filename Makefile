# `make` prints what can be done. Everything that is generated goes to _build/ and .venv/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
JOBS ?= 2
NOTEBOOK ?=
SHARDS ?=
ARGS ?=

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.metamerlib-installed
BUILD := $(PY) -m book.tools

# One thread per process: parallelism is by process, and waiting threads must not spin.
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0

.PHONY: help install book site run publish full sweep release explorer snakemake browser test reliability lint unit \
  clean distclean

help:
	@echo 'make book                    set up, compute every notebook live on small embedded graphs, build _build/quick/html'
	@echo 'make site                    build the published book from the saved notebooks, computing nothing: _build/html'
	@echo 'make run NOTEBOOK=01_first_metamer ARGS="-p graphs karate -p seeds 0"'
	@echo '                             run one notebook with parameters of your own; tables, figures and page go to a'
	@echo '                             folder of their own in _build/runs, named by the parameters'
	@echo 'make sweep NOTEBOOK=name SHARDS=8 ARGS="..."'
	@echo '                             the same on the real graphs, its points shared out over JOBS processes'
	@echo '                             (Snakefile: over a cluster)'
	@echo 'make full NOTEBOOK=name      compute what results/ does not hold yet of the published points; with SHARDS=8'
	@echo '                             shared out, with ARGS a run of your own on the real graphs'
	@echo 'make publish NOTEBOOK=name   rerun a notebook on results/ and save it in place, outputs and all'
	@echo 'make release                 book, results, wheel, source and checksums, the same bytes every time: _build/release'
	@echo 'make explorer                compute anew what the page Explorer shows (reads Cora_ML)'
	@echo 'make test                    lint, types, both books, saved notebooks, unit tests'
	@echo 'make reliability             kills, damaged files, full disks, hostile files, bad input, memory: under half an'
	@echo '                             hour; the counts go to results/reliability.json and into the book'
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

full: $(if $(SHARDS),snakemake,$(INSTALLED))
	@$(if $(SHARDS),$(BUILD) sweep "$(NOTEBOOK)" "$(SHARDS)" "$(JOBS)" $(or $(ARGS),published),$(BUILD) full "$(NOTEBOOK)" $(ARGS))

sweep: snakemake
	@$(BUILD) sweep "$(NOTEBOOK)" "$(or $(SHARDS),$(JOBS))" "$(JOBS)" $(ARGS)

snakemake: $(INSTALLED)
	@$(PY) -c 'import snakemake' 2>/dev/null || { echo 'Installing Snakemake: under a minute'; \
	  $(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[sweep]' \
	  > $(VENV)/sweep.log 2>&1 || { tail -n 25 $(VENV)/sweep.log; \
	  echo 'The installation failed: its last lines are above, all of them in $(VENV)/sweep.log'; exit 1; }; }

release: $(INSTALLED)
	@$(BUILD) release

explorer: $(INSTALLED)
	@$(PY) -m metamerlib.report.explorer

publish: $(INSTALLED)
	@$(BUILD) publish "$(NOTEBOOK)"

lint: $(INSTALLED)
	@echo 'Style and types: about 20 seconds'
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

unit: $(INSTALLED)
	@$(PY) -m pytest -q -n $(JOBS) --ignore=tests/book

# Without a browser the tests that need one are skipped, so nothing here is an error.
browser: $(INSTALLED)
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null 2>&1 && exit 0; done; \
	if [ "$$(id -u)" = 0 ]; then root=; else root='sudo -n'; fi; \
	if command -v apt-get > /dev/null 2>&1 && $$root true 2> /dev/null; then \
	  echo 'Installing Chromium for the tests of the pages: a minute or two'; \
	  { $$root timeout 120 apt-get -q update; \
	    $$root timeout 300 env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends chromium; \
	  } > $(VENV)/browser.log 2>&1 && exit 0; \
	  echo 'Chromium could not be installed (see $(VENV)/browser.log).'; \
	fi; \
	echo 'There is no Chromium here: the tests of the pages in a browser are skipped.'

# Both books first, so that the last line printed is the one that closes the tests.
test: lint browser
	@$(BUILD) quick --fresh --jobs $(JOBS)
	@$(BUILD) site
	@$(BUILD) validate --jobs $(JOBS)
	@echo 'Tests: several minutes'
	@METAMERLIB_BOOKS_BUILT=1 $(PY) -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

# Not a part of `make test`: what takes long, or a disk or a machine of its own.
reliability: $(INSTALLED)
	@echo 'Reliability: up to half an hour'
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile tests/reliability tests/test_bad_input.py tests/test_bad_inputs.py \
	  tests/search/test_trouble.py tests/report/test_resume.py --summary results/reliability.json $(ARGS)

clean:
	rm -rf _build .snakemake

distclean: clean
	rm -rf .venv
