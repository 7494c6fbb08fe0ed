# The ritual: make demo (data to score table), make check (style and types), make test (what CI runs).
.DELETE_ON_ERROR:
.PHONY: setup demo check test clean
SHELL := /bin/bash
PY := .venv/bin/python

setup:
	@./setup.sh

check: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: check
	$(PY) -m pytest
