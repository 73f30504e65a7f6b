# Metabridge. `make` lists what there is. Every target installs what it needs
# into .venv by itself: with uv where it is found, with pip where not.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
INSTALL = $(BIN)/pip install --quiet --constraint constraints.txt
else
INSTALL = $(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt
endif
# Large blocks of memory in huge pages: a training step on a CPU takes a fifth less time.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
# Each process that a test starts would else compile all it imports anew.
export PYTHONDONTWRITEBYTECODE :=
METADATA := setup.cfg pyproject.toml constraints.txt
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal --junitxml=.pytest_cache/$@.xml

# What training runs on; any of these can be given on the command line.
DATASET ?= glyphs
DATA_DIR ?=
SHOTS ?= 5
ALGORITHM ?= anil
ALGORITHMS ?= mtl,anil,maml
MINUTES ?=
FOLDER ?=
RUN_DIR ?=
TIER ?= test
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install train-mtl train-gbml compare agreement reproduce ntk-compare ntk-benchmark test test-all test-rest test-slow coverage durations bench notebooks lint format types docs constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	$(if $(UV),$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

# One stamp a set of extras, so that training does not wait for the theory's.
$(VENV)/.run: $(BIN)/python $(METADATA)
	$(INSTALL) --editable '.[data]'
	@touch $@

$(VENV)/.theory: $(BIN)/python $(METADATA)
	$(INSTALL) --editable '.[data,theory]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: $(BIN)/python $(METADATA)
	$(INSTALL) --editable '.[data,hub,theory,test,dev,docs]'
	@touch $@ $(VENV)/.theory $(VENV)/.run

install: $(VENV)/.dev ## install everything a developer needs into .venv

train-mtl: $(VENV)/.run ## train and evaluate MTL [DATASET=glyphs SHOTS=5 DATA_DIR= RUN_DIR= ARGS=]
	$(BIN)/metabridge train mtl --dataset $(DATASET) --shots $(SHOTS) \
	  $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(if $(RUN_DIR),--run-dir $(RUN_DIR)) $(ARGS)

train-gbml: $(VENV)/.run ## train and evaluate another learner [ALGORITHM=anil, and as above]
	$(BIN)/metabridge train $(ALGORITHM) --dataset $(DATASET) --shots $(SHOTS) \
	  $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(if $(RUN_DIR),--run-dir $(RUN_DIR)) $(ARGS)

compare: $(VENV)/.run ## compare learners by equal training time [ALGORITHMS=mtl,anil,maml MINUTES=1 FOLDER=]
	$(BIN)/metabridge compare --algorithms "$(ALGORITHMS)" --dataset $(DATASET) --shots $(SHOTS) \
	  $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(FOLDER),--folder $(FOLDER)) $(ARGS)

agreement: $(VENV)/.run ## whether methods predict the same as two seeds do [DATASET=glyphs DATA_DIR= ARGS=--plan]
	$(BIN)/python -m experiments.agreement --dataset $(DATASET) \
	  $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(if $(FOLDER),--output $(FOLDER)) $(ARGS)

reproduce: $(VENV)/.run ## the paper's tables from its recipes [DATA_DIR= ARGS="--table main --datasets cifar_fs"]
	$(BIN)/python -m experiments.reproduce $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

ntk-compare: $(VENV)/.theory ## compare the infinite-width MTL and GBML predictors [ARGS=]
	$(BIN)/python -m experiments.ntk_compare $(ARGS)

ntk-benchmark: $(VENV)/.theory ## accuracy and agreement of infinite-width MTL and GBML [ARGS=--quick]
	$(BIN)/python -m experiments.ntk_benchmark $(ARGS)

test: $(VENV)/.dev ## run the tests of everyday work (5 minutes on two fast cores)
	$(PYTEST) $(ARGS)

test-all: $(VENV)/.dev ## run these and pages, notebooks, fuzzing (20 minutes)
	$(PYTEST) -m "not slow" $(ARGS)

test-rest: $(VENV)/.dev ## run what test-all holds beyond test
	$(PYTEST) -m "extended and not slow" $(ARGS)

# Optimised as users' programs are; the other tiers compile faster without.
test-slow: export JAX_DISABLE_MOST_OPTIMIZATIONS = 0
test-slow: export XLA_FLAGS =
test-slow: $(VENV)/.dev ## run all tests, the long ones too (hours)
	$(PYTEST) -m "" $(ARGS)

coverage: $(VENV)/.dev ## run test-all and name the lines that no test reaches
	$(PYTEST) -m "not slow" --cov --cov-report=term-missing:skip-covered $(ARGS)

durations: ## print the slowest modules of the last test run [TIER=test]
	@$(BIN)/python -m tests.durations .pytest_cache/$(TIER).xml

bench: $(VENV)/.dev ## measure the speeds that the documentation states
	$(BIN)/python -m benchmarks.speed $(ARGS)

notebooks: $(VENV)/.dev ## execute the notebooks of the documentation in place
	$(BIN)/python -m tests.docs.notebooks $(ARGS)

lint: $(VENV)/.dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## check types in the package, the theory, experiments, benchmarks and tests
	$(BIN)/pyright

docs: $(VENV)/.dev ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

constraints: ## resolve constraints.txt anew (needs uv)
	uv pip compile --universal --python-version 3.11 --upgrade --no-emit-package metabridge \
	  --no-header --no-annotate --no-emit-index-url requirements.in -o constraints.txt

clean: ## remove what was built (not runs/ and not results/)
	rm -rf $(VENV) build dist site .cache .pytest_cache .ruff_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
