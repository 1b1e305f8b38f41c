# Every target runs in the clone's own virtual environment, or with the interpreter that PYTHON= names.
VENV := .venv
ifeq ($(origin PYTHON), undefined)
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.installed
EXTRA := $(VENV)/.benchmarks
NOTEBOOKS := $(VENV)/.notebooks
SITE := $(VENV)/.docs
endif
ARGS ?=
# A process a core; one that has no tests left takes over some of another's.
PARALLEL := -n logical --maxprocesses 16 --dist worksteal
# Sionna 1.2 has an environment of its own: both versions are called sionna.
TENSORFLOW := .venv-tensorflow
# The C++ kernels: built where there is a compiler, else there is a line each time, and PyTorch.
LANES := neumatc_mimo/kernels/lanes
KERNELS := $(LANES)/_lanes.so
# Installing leaves them to the rule below, which knows whether anything has changed.
INSTALL := NEUMATC_KERNELS=off

.PHONY: kernels arm wheels release pages demo test test-random test-tensorflow bench paper paper-setup notebooks docs docs-setup lint types compatibility clean

demo: $(SETUP) $(KERNELS)  ## train the bundled scenario's models, simulate, write report/
	$(PYTHON) -m neumatc_mimo demo --force $(ARGS)

test: $(SETUP) $(KERNELS)  ## the whole test suite, on all cores
	$(PYTHON) -m pytest $(PARALLEL) $(ARGS)

test-random: $(SETUP) $(KERNELS)  ## the tests that draw their examples, with four times as many
	$(PYTHON) -m pytest $(PARALLEL) -m hypothesis --hypothesis-profile large $(ARGS)

test-tensorflow: $(SETUP) $(TENSORFLOW)/.installed  ## the blocks of Sionna 1.2, against PyTorch's
	$(PYTHON) -m tests_tensorflow.make_references build/tensorflow
	$(TENSORFLOW)/bin/python -m pytest tests_tensorflow $(ARGS)

bench: $(SETUP) $(KERNELS)  ## every block beside Sionna's and its limit; ARGS=--quick for two minutes of it
	$(PYTHON) -m neumatc_mimo bench $(ARGS)

pages: $(SETUP)  ## the figures of README.md and docs/, from the results in benchmarks/results
	$(PYTHON) -m benchmarks.pages

paper: $(EXTRA) $(KERNELS)  ## the tables and figures of the paper; ARGS=--quick for ten minutes of them
	$(PYTHON) -m benchmarks.paper $(ARGS)

paper-setup: $(EXTRA)  ## what the paper's rivals need beyond the package

notebooks: $(NOTEBOOKS) $(KERNELS)  ## execute all notebooks and write them with their pictures; ARGS=NAME for one
	$(PYTHON) -m notebooks $(ARGS)

docs: $(SITE)  ## the documentation as a site, in site/; a broken link is an error
	$(PYTHON) -m mkdocs build --strict

docs-setup: $(SITE)  ## what the site needs beyond the package

kernels: $(SETUP)  ## the C++ kernels once more; an error without CMake and GCC 12 or Clang
	NEUMATC_KERNELS=require $(PYTHON) build_kernels.py

wheels: $(SETUP)  ## the sdist and this platform's wheel with kernels, in dist/, and a try of it
	$(PYTHON) -m nox -s wheels

release: $(SETUP)  ## builds as `make wheels`, tries all of it in empty environments, lists what would be uploaded
	$(PYTHON) -m nox -s wheels installed release

arm: $(SETUP)  ## the kernels of 64-bit ARM in an emulator; wants aarch64-linux-gnu-g++ and qemu-user-static
	$(PYTHON) -m nox -s arm -- $(ARGS)

lint: $(SETUP)  ## rules, format, and which package may import which
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()" --no-cache

types: $(SETUP)
	$(PYTHON) -m mypy

compatibility: $(SETUP) $(KERNELS)  ## tests at the lowest and the newest versions of all dependencies
	$(PYTHON) -m nox $(ARGS)

# make sees changes by their time, those that git brings too.
$(KERNELS): CMakeLists.txt $(wildcard $(LANES)/native/*) | $(SETUP)
	$(PYTHON) build_kernels.py

$(VENV)/.installed: pyproject.toml constraints.txt
	python3.11 -m venv $(VENV) || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	# torch first: a pinned CPU build, which the packages that need it then accept.
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt torch
	$(INSTALL) $(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.benchmarks: $(VENV)/.installed
	$(INSTALL) $(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,benchmarks]'
	touch $@

$(VENV)/.notebooks: $(VENV)/.installed
	$(INSTALL) $(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,notebooks]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) $(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	touch $@

$(TENSORFLOW)/.installed: pyproject.toml constraints-tensorflow.txt
	python3.11 -m venv $(TENSORFLOW) || python3 -m venv $(TENSORFLOW)
	$(TENSORFLOW)/bin/python -m pip install --quiet --upgrade pip
	$(TENSORFLOW)/bin/python -m pip install --quiet -c constraints-tensorflow.txt torch
	$(INSTALL) $(TENSORFLOW)/bin/python -m pip install --quiet -c constraints-tensorflow.txt -e '.[tensorflow]' pytest
	touch $@

clean:
	rm -rf $(VENV) $(TENSORFLOW) report models dist build site .cache .nox
