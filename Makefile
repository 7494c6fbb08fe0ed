# The ritual: make demo (from data to a score table), make check (style and types), make test (what CI runs).
#
# A stage is done when its manifest is there: interrupted anywhere, the same command goes on from the last finished
# stage, and inside a stage from where it stopped.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: setup demo check test clean

PY := .venv/bin/python
DEMO := runs/demo

demo: $(DEMO)/report.html
	@$(PY) -m evaluator table $(DEMO)/results
	@echo "report: $<"

$(DEMO)/problems/manifest.json: | setup
	$(PY) -m dataset build demo --out $(@D)

$(DEMO)/verified/manifest.json: $(DEMO)/problems/manifest.json
	$(PY) -m dataset verify $(DEMO)/problems/candidates.jsonl --out $(@D)

$(DEMO)/mix/manifest.json: $(DEMO)/verified/manifest.json
	$(PY) -m dataset mix $(DEMO)/verified/kept.jsonl --out $(@D)

$(DEMO)/model/manifest.json: $(DEMO)/mix/manifest.json
	$(PY) -m trainer --init demo --data $(DEMO)/mix --out $(@D)

$(DEMO)/results/manifest.json: $(DEMO)/model/manifest.json
	$(PY) -m evaluator run --model $(DEMO)/model --benchmark demo --file $(DEMO)/problems/test.jsonl \
	    --tools --no-tools --out $(@D)

$(DEMO)/report.html: $(DEMO)/results/manifest.json
	$(PY) -m evaluator report $(DEMO)/results --out $@

setup:
	@./setup.sh

check: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: check
	$(PY) -m pytest

clean:
	rm -rf $(DEMO)
