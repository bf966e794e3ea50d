# bonehpo: every target installs what it needs into .venv.
VENV := .venv
PYTHON := $(VENV)/bin/python
BONEHPO := $(VENV)/bin/bonehpo
BONE ?= TB
TRIALS ?= 3
WORKERS ?= 2
REPRODUCE_STORAGE := --storage sqlite:///$(CURDIR)/studies/reproduce/optuna.db
SMOKE_STORAGE := --storage sqlite:///$(CURDIR)/studies/smoke/optuna.db

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make .venv with the pinned dependencies
$(VENV)/.installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,formats]'
	@touch $@

test: install browser ## Run the tests
	$(PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

torture: install browser ## Run the long tests that `make test` leaves out
	$(PYTHON) -m pytest --numprocesses $(WORKERS) -m torture

browser: # The MLflow UI is tested in a real browser. CI machines are made anew, so that CI brings it along.
	@if [ -n "$$CI" ] && ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium chromium-driver >/dev/null; } || \
	  echo "no chromium could be installed: the tests of the MLflow UI in a browser are skipped"; fi

check: install ## Lint, formatting, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: install ## Format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

search: studies/$(BONE)/slices.zarr ## Search BONE=TB with TRIALS=3, on the phantom where there is no store yet
	$(BONEHPO) search --bone $(BONE) --trials $(TRIALS)

studies/$(BONE)/slices.zarr: | install
	test -e phantoms/$(BONE) || $(BONEHPO) phantom --bone $(BONE) --out phantoms/$(BONE)
	$(BONEHPO) prepare phantoms/$(BONE)/scans.csv --bone $(BONE) --size 64 --slices 12

smoke: install ## The whole way, tiny: phantom, prepare, search, show, promote, predict
	rm -rf phantoms/smoke studies/smoke/slices.zarr studies/smoke/fits studies/smoke/optimum studies/smoke/optuna.db
	$(BONEHPO) phantom --bone CB --out phantoms/smoke --side 64 --states 2
	$(BONEHPO) prepare phantoms/smoke/scans.csv --bone smoke --size 48 --slices 12
	$(BONEHPO) verify --bone smoke
	$(BONEHPO) inspect --bone smoke
	$(BONEHPO) search --bone smoke --trials 2 $(SMOKE_STORAGE)
	$(BONEHPO) show --bone smoke $(SMOKE_STORAGE)
	$(BONEHPO) promote --bone smoke $(SMOKE_STORAGE) --force --because "a smoke run on a phantom"
	$(BONEHPO) predict --bone smoke phantoms/smoke/CB6/state_02.tif --out phantoms/smoke

reproduce-smoke: install ## Everything that the paper reports, tiny, on a phantom with a shortcut for the ablation
	rm -rf phantoms/reproduce $(addprefix studies/reproduce/,slices.zarr fits networks optimum results ablation optuna.db report.html)
	$(BONEHPO) phantom --bone CB --out phantoms/reproduce --side 48 --states 4 --shortcut
	$(BONEHPO) prepare phantoms/reproduce/scans.csv --bone reproduce --size 48 --slices 3
	$(BONEHPO) reproduce --bone reproduce --trials 2 --weights none --scans phantoms/reproduce/scans.csv $(REPRODUCE_STORAGE)

examples: install ## Run the examples, and keep beside them what they print and draw, for the docs
	for path in examples/*.py; do folder=$$(mktemp -d) && (cd $$folder && \
	  PYTHONPATH=$(CURDIR) BONEHPO_FIGURES=$(CURDIR)/examples $(CURDIR)/$(PYTHON) $(CURDIR)/$$path) > $${path%.py}.txt && \
	  rm -r $$folder || exit 1; done
.PHONY: examples

transcript: install ## Record the journey for the docs, in a terminal of 80 columns
	$(PYTHON) docs/transcript.py

docs: install ## Build the docs site into site/, without a network
	NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS=ignore::DeprecationWarning $(VENV)/bin/mkdocs build --strict
.PHONY: docs

bench: install ## Measure training against a bare Keras fit, and memory
	$(PYTHON) benchmarks/training.py

simulations: install ## Print the tables of docs/explanation/estimates.md, reading.md and pruning.md; REPLAY="studies/TB studies/CB" adds recorded trials
	$(PYTHON) benchmarks/simulations.py
	$(PYTHON) benchmarks/calibration.py
	$(PYTHON) benchmarks/pruning.py $(if $(REPLAY),--replay $(REPLAY))

audit-zoo: install ## Plant shortcuts into phantoms and print which of them the audit flags; ARGS="--seeds 1 --kinds blur,mark"
	$(PYTHON) benchmarks/audit_zoo.py $(ARGS)

ui: install ## Open the MLflow UI
	$(BONEHPO) ui

clean: ## Remove .venv, phantoms and caches; studies and runs stay
	rm -rf $(VENV) phantoms site .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help install test torture transcript browser check format search smoke reproduce-smoke bench simulations audit-zoo ui clean
.DEFAULT_GOAL := help
