# Thin by intent: every target calls a module that says the rest in its own --help.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PYTHONPATH := $(CURDIR)/cluster
PYTHON ?= python3
TOOLS = $(PYTHON) -m
# Evaluated on first use, so that `make help` needs nothing. Exported variables do not reach $(shell) in older makes.
VENV = $(eval VENV := $(shell PYTHONPATH=$(PYTHONPATH) $(TOOLS) leyden_images venv))$(VENV)
PACKAGES := $(CURDIR)/contract:$(CURDIR)/operator:$(CURDIR)/trainer-image:$(CURDIR)/server-image:$(CURDIR)/cluster
RUN = PYTHONPATH=$(PACKAGES) $(VENV)/bin/python -m

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: quickstart quickstart-down
quickstart: python-3.11 ## Fresh machine to a served model: cluster, images, operator, training on 3 pods, predictions
	@$(TOOLS) leyden_quickstart up

quickstart-down: ## Remove everything that quickstart started
	@$(TOOLS) leyden_quickstart down

.PHONY: python-3.11
python-3.11:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. Name another: make PYTHON=python3.11 ...")'

.PHONY: prerequisites environment binaries images cluster
prerequisites: python-3.11 ## Check this machine and install missing Debian packages (root)
	@$(TOOLS) leyden_cluster prerequisites --install

environment: ## Make the development environment and print its path
	@$(TOOLS) leyden_images venv

binaries: ## Build Kubernetes, etcd, containerd, CoreDNS, helm ... into the cache
	@$(TOOLS) leyden_cluster build

images: ## Build the operator, trainer and server images
	@$(TOOLS) leyden_images build

cluster: ## Start the local cluster with the images loaded
	@$(TOOLS) leyden_cluster up --nodes 3
	@$(TOOLS) leyden_images build --load

.PHONY: test test-quick test-unit test-api test-cluster
test: prerequisites ## Everything, from a clean clone: builds, verify, all test tiers
	@$(MAKE) --no-print-directory -j3 environment binaries images
	@$(MAKE) --no-print-directory verify test-unit test-api test-cluster

test-unit: ## Unit, engine and server tiers
	$(RUN) pytest -n 2 --dist loadgroup tests/unit tests/engine tests/parity tests/libraries tests/server

test-api: ## API and chart tiers, against a real etcd and kube-apiserver
	$(RUN) pytest -n 2 --dist loadfile -m api tests/api tests/chart

test-cluster: ## The images, the local cluster's failures and the user's flows; leaves no cluster behind
	$(RUN) pytest -n 2 --dist worksteal -m "not alone" tests/images tests/e2e
	$(RUN) pytest -m "alone or cluster" tests/cluster tests/e2e --ignore=tests/cluster/test_zz_down.py
	LEYDEN_TEST_DOWN=1 $(RUN) pytest tests/cluster/test_zz_down.py

test-quick: ## The inner loop: under a minute
	$(RUN) pytest -q -n 2 --dist loadgroup -m "not slow" tests/unit tests/engine tests/server

.PHONY: test-gpu
test-gpu: ## What a CUDA device alone can show, and the engine's tests on it; fails where there is none
	@$(VENV)/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "test-gpu needs a CUDA device, and torch finds none here.")'
	LEYDEN_TEST_ACCELERATOR=gpu $(RUN) pytest -n 2 --dist loadgroup -m "not slow" tests/gpu tests/engine
	LEYDEN_TEST_ACCELERATOR=gpu $(RUN) pytest tests/parity/test_parity.py -k "not two_processes"

.PHONY: verify lint generate
verify: lint ## What a change must pass: lint, types, import law, generated files, chart
	$(RUN) leyden_operator.crdgen --check
	$(VENV)/bin/python tests/tools/chartgen.py --check
	$(RUN) pytest -q -n 2 tests/chart -m "not api"

lint: ## ruff, mypy --strict and the import law
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(RUN) mypy --cache-dir $(VENV)/../mypy
	PYTHONPATH=$(PACKAGES) $(VENV)/bin/lint-imports

generate: ## Regenerate CRDs, reference docs and the chart's values and README
	$(RUN) leyden_operator.crdgen --write
	$(VENV)/bin/python tests/tools/chartgen.py --write

.PHONY: bench
bench: ## Run the benchmarks that need no cluster and print their figures
	@for bench in benchmarks/engine $(filter-out benchmarks/cluster_latency.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$bench"; PYTHONPATH=$(PACKAGES) $(VENV)/bin/python $$bench || exit 1; \
	done
