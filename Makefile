# The ritual: make demo (from data to a score table), make improve (its next act: a model becomes better by its own
# solutions), make docs (the site), make check (style and types), make test (what CI runs).
#
# A stage is done when its manifest is there: interrupted anywhere, the same command goes on from the last finished
# stage, and inside a stage from where it stopped.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: setup demo improve docs check test clean

PY := .venv/bin/python
DEMO := runs/demo
# Many small steps teach a small model to copy sooner than few large ones. One thread: two are a quarter faster on idle
# cores and up to 25 times slower on busy ones (docs/log.md).
DEMO_RECIPE := --threads 1 --steps 2200 --batch-rows 1 --row-tokens 768 --repeat --learning-rate 4e-3 --warmup-steps 50 \
    --schedule linear --weight-decay 0.01 --log-every 200 --checkpoint-every 500

demo: $(DEMO)/report.html
	@$(PY) -m evaluator table $(DEMO)/results
	@echo "report: $<"

$(DEMO)/problems/manifest.json: | setup
	$(PY) -m dataset build demo --problems 5000 --out $(@D)

$(DEMO)/verified/manifest.json: $(DEMO)/problems/manifest.json
	$(PY) -m dataset verify $(DEMO)/problems/candidates.jsonl --cpu-seconds 2 --out $(@D)

$(DEMO)/mix/manifest.json: $(DEMO)/verified/manifest.json
	$(PY) -m dataset mix $(DEMO)/verified/kept.jsonl --config dataset/demo/mixture.toml --out $(@D)

$(DEMO)/model/manifest.json: $(DEMO)/mix/manifest.json
	$(PY) -m trainer --init demo --data $(DEMO)/mix --out $(@D) $(DEMO_RECIPE)

$(DEMO)/results/manifest.json: $(DEMO)/model/manifest.json
	$(PY) -m evaluator run --model $(DEMO)/model --benchmark demo --file $(DEMO)/problems/test.jsonl \
	    --tools --no-tools --out $(@D)

$(DEMO)/report.html: $(DEMO)/results/manifest.json
	$(PY) -m evaluator report $(DEMO)/results --out $@

# The demo's next act: a model that learned from people who do short sums in their heads guesses where it could compute.
# By its own solutions it learns to run a program, by expert iteration and by GRPO; the control is GRPO with rewards
# that are given to other solutions. The exam's 400 problems are new to all. It samples, as learning does: a greedy exam
# of a model that is undecided tells little, since a small step turns all its answers (docs/log.md).
IMPROVE := runs/improve
ROWS := --threads 1 --batch-rows 1 --row-tokens 768 --repeat --schedule linear --weight-decay 0.01 --log-every 200
START_RECIPE := $(ROWS) --steps 3000 --learning-rate 4e-3 --warmup-steps 50 --checkpoint-every 500
EXAM := --new-tokens 256 --temperature 1 --samples 2
ROUNDS_RECIPE := --rounds 2 --problems-per-round 2000 --samples 2 --rates 0:1 --keep 2 \
    --sample-flags "--new-tokens 96" --verify-flags "--cpu-seconds 2" --exam-flags "$(EXAM)" \
    --train-flags "$(ROWS) --steps 250 --learning-rate 1e-3 --warmup-steps 20 --no-last-checkpoint"
GRPO_RECIPE := --threads 1 --updates 40 --problems-per-update 32 --samples 8 --new-tokens 128 --row-tokens 768 \
    --kl 0 --learning-rate 3e-4
GRPO := --model $(IMPROVE)/start --problems $(IMPROVE)/problems/problems.jsonl $(GRPO_RECIPE)

improve: $(IMPROVE)/rounds/manifest.json $(IMPROVE)/grpo-exam/manifest.json $(IMPROVE)/control-exam/manifest.json
	@$(PY) -m evaluator table $(IMPROVE)/rounds/round-*/exam $(IMPROVE)/grpo-exam $(IMPROVE)/control-exam \
	    --pairs

$(IMPROVE)/problems/manifest.json: | setup
	$(PY) -m dataset build demo --problems 5000 --test-problems 400 --by-heart 0.6 --out $(@D)

$(IMPROVE)/verified/manifest.json: $(IMPROVE)/problems/manifest.json
	$(PY) -m dataset verify $(IMPROVE)/problems/candidates.jsonl --cpu-seconds 2 --out $(@D)

$(IMPROVE)/mix/manifest.json: $(IMPROVE)/verified/manifest.json
	$(PY) -m dataset mix $(IMPROVE)/verified/kept.jsonl --config dataset/demo/mixture.toml --out $(@D)

$(IMPROVE)/start/manifest.json: $(IMPROVE)/mix/manifest.json
	$(PY) -m trainer --init demo --data $(IMPROVE)/mix --out $(@D) $(START_RECIPE)

$(IMPROVE)/rounds/manifest.json: $(IMPROVE)/start/manifest.json
	$(PY) -m improve rounds --model $(IMPROVE)/start --problems $(IMPROVE)/problems/problems.jsonl \
	    --exam $(IMPROVE)/problems/test.jsonl --out $(@D) $(ROUNDS_RECIPE)

$(IMPROVE)/grpo/manifest.json: $(IMPROVE)/start/manifest.json
	$(PY) -m improve grpo $(GRPO) --out $(@D)

$(IMPROVE)/control/manifest.json: $(IMPROVE)/start/manifest.json
	$(PY) -m improve grpo $(GRPO) --shuffle-rewards --out $(@D)

$(IMPROVE)/%-exam/manifest.json: $(IMPROVE)/%/manifest.json
	$(PY) -m evaluator run --model $(IMPROVE)/$* --name $* --benchmark demo --file $(IMPROVE)/problems/test.jsonl --tools \
	    $(EXAM) --out $(@D)

setup:
	@./setup.sh

# The site, without a network. Strict: a dead link ends it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --site-dir runs/site
	@echo "site: runs/site/index.html (its search: $(PY) -m http.server --bind 127.0.0.1 --directory runs/site)"

check: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: check
	$(PY) -m pytest -n 2 --dist loadfile

clean:
	rm -rf $(DEMO) $(IMPROVE)
