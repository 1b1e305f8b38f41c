# Every target runs in the clone's own virtual environment, or with the interpreter that PYTHON= names.
VENV := .venv
ifeq ($(origin PYTHON), undefined)
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.installed
endif
ARGS ?=

.PHONY: demo test lint types clean

demo: $(SETUP)  ## train the bundled scenario's models, simulate, write report/
	$(PYTHON) -m neumatc_mimo demo $(ARGS)

test: $(SETUP)  ## the whole test suite
	$(PYTHON) -m pytest $(ARGS)

lint: $(SETUP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(SETUP)
	$(PYTHON) -m mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	python3.11 -m venv $(VENV) || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	# torch first: a pinned CPU build, which the packages that need it then accept.
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) report models dist build
