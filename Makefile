# Two commands: `make repro` and `make test`. Everything else is listed by `make help`.
# The newest Python of those that the lock file is for; `make PYTHON=python3.11 …` takes another one.
PYTHON ?= $(firstword $(foreach python,python3.13 python3.12 python3.11,$(shell $(python) -c '' 2>/dev/null && echo $(python))))
VENV := .venv
RUN := $(VENV)/bin/python
export TF_CPP_MIN_LOG_LEVEL ?= 3
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: help setup demo repro test test-long check graph crossvalidate ui schedule doctor picture case-pictures lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(VENV)/ready ## the virtual environment from requirements.lock; nothing the second time

# Byte-compiled on purpose: containers often forbid it, and then every stage pays seconds for its imports.
# --no-deps: the lock file is complete, and pip need not solve what is solved. Setuptools first: the one package that comes as
# source only (antlr4, for DVC) is built with it, not with a build tool that no hash stands for.
PIP = PYTHONDONTWRITEBYTECODE= $(RUN) -m pip install --quiet --disable-pip-version-check --no-deps
$(VENV)/ready: requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found: install one, or name it with PYTHON=…"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: name another one with PYTHON=…"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages (about 4 GB on disk, a few minutes) …"
	@awk '/^setuptools==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/setuptools.txt
	$(PIP) --require-hashes -r $(VENV)/setuptools.txt
	$(PIP) --require-hashes --no-build-isolation --compile -r requirements.lock
	$(PIP) --no-build-isolation --editable .
	@[ ! -d .git ] || { mkdir -p -m 700 .dvc/tmp && $(VENV)/bin/dvc config --local core.site_cache_dir "$(CURDIR)/.dvc/tmp/site"; }
	@touch $@

repro: $(VENV)/ready ## data, training, evaluation, report, registered model; only what changed
	@$(RUN) -m flows.pipeline

demo: $(VENV)/ready ## a first look: a few synthetic heads, two networks, every page; touches nothing else
	@$(RUN) -m flows.demo

# Two processes: the end-to-end project in one, every other file by itself in the other (tests/conftest.py groups them).
PYTEST := $(RUN) -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test: $(VENV)/ready ## all tests but the long ones
	@$(PYTEST)

test-long: $(VENV)/ready ## the long proofs as well
	@$(PYTEST) -m "long or not long"

check: $(VENV)/ready ## lint, types, direction of imports, dvc.yaml's code dependencies, packages
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m pyright
	@$(VENV)/bin/lint-imports --no-logo
	@$(RUN) .ci/graph.py --check
	@$(VENV)/bin/deptry . --no-ansi

graph: $(VENV)/ready ## the code dependencies in dvc.yaml and docs/rooms.png anew, from the imports
	@$(RUN) .ci/graph.py --write
	@$(RUN) .ci/graph.py --picture

crossvalidate: $(VENV)/ready ## the whole method in 5 folds by patient, for small cohorts
	@$(RUN) -m flows.crossvalidate

ui: $(VENV)/ready ## Prefect and MLflow pages on 127.0.0.1, until Ctrl-C
	@$(RUN) -m flows.ui

schedule: $(VENV)/ready ## serve the scheduled retraining and the watch (needs `make ui` running), until Ctrl-C
	@$(RUN) -m flows.retrain

doctor: ## what works here, and what to do about what does not
	@if [ -e $(VENV)/ready ]; then $(VENV)/bin/ich doctor; else \
	echo "The environment is missing (no $(VENV)/ready): \`make setup\` makes it, or \`make repro\` does on its way."; exit 1; fi

picture: $(VENV)/ready ## draw docs/phantom.png and docs/varied-phantom.png anew
	@$(RUN) -c "from pathlib import Path; from ich_pipeline.phantom.montage import montage, varied_montage; from ich_pipeline.config import load_params; params = load_params(); montage(params, Path('docs/phantom.png')); varied_montage(params, Path('docs/varied-phantom.png'))"

case-pictures: $(VENV)/ready ## draw docs/case-*.png and docs/results.png anew with the registered version (needs chromium)
	@$(RUN) .ci/case_pictures.py

lock: ## solve the dependencies of pyproject.toml anew into requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock

clean: ## remove what the stages wrote; keeps data/, the registry and the environment
	rm -rf work .state
