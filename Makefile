# Every target does its own set-up. Nothing needs to be installed by hand but make, Python 3.11 or later and, for the real
# cluster and csi-sanity, Go.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
DEBIAN := fuse3 libfuse3-dev pkg-config gcc libc6-dev python3-dev python3-venv git
DEBIAN_TEST := bindfs fio sqlite3 attr tmux zsh fish chromium chromium-driver nodejs
DEBIAN_CLUSTER := $(shell cat tests/cluster/packages.txt 2>/dev/null)
DEBIAN_IMAGE := mmdebstrap
DEBIAN_SCREENSHOTS := librsvg2-bin fonts-dejavu-core
# Many tests wait for programs that they started: two at a time on each processor.
WORKERS := $(shell echo $$(( 2 * $$(nproc) )))
# They, and all programs that they start, are of the same modules: without bytecode each would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check format image cluster-up cluster-down test-cluster fuse-rounds sanity krew bench screenshots proto venv clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# $(call need,packages): Debian packages that are missing are installed when root, named otherwise.
define need
	@missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then echo "installing Debian packages:$$missing" >&2; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "missing Debian packages; run: sudo apt-get install -y$$missing" >&2; exit 1; fi; fi
endef

$(VENV)/.ready: pyproject.toml constraints.txt
	$(call need,$(DEBIAN))
	@echo "setting up $(VENV): once, about a minute" >&2
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install -q -U 'pip>=25.1'
	@$(PYTHON) -m pip install -q -c constraints.txt -e '.[driver]' --group dev
	@touch $@

venv: $(VENV)/.ready ## the virtual environment, with pinned versions

demo: $(VENV)/.ready ## volumes on their way, on this machine, without a cluster (SCENARIO=mixed)
	@$(PYTHON) -m csitrace demo $(if $(SCENARIO),--scenario $(SCENARIO))

test: $(VENV)/.ready ## units, screens, lab, real gRPC and real FUSE; no Go, no cluster
	$(call need,$(DEBIAN_TEST) $(DEBIAN_SCREENSHOTS))
	@$(PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.ready ## format, lint, types, import contracts, generated code, the built wheel
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(PYTHON) tools/generate_protos.py --check
	@$(PYTHON) tools/check_wheel.py

format: $(VENV)/.ready ## format and mend what can be mended
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

proto: $(VENV)/.ready ## generate the protobuf code anew
	@$(PYTHON) tools/generate_protos.py

image: $(VENV)/.ready ## a container image of driver, FUSE pods and agent, without docker; prints its name and its archive
	$(call need,$(DEBIAN_IMAGE))
	@$(PYTHON) -m tools.image

cluster-up: $(VENV)/.ready ## a real two-node Kubernetes with driver_ref; prints the KUBECONFIG to use
	$(call need,$(DEBIAN_CLUSTER))
	@$(PYTHON) -m tests.cluster up

cluster-down: $(VENV)/.ready ## end it, and leave nothing behind
	@$(PYTHON) -m tests.cluster down

test-cluster: $(VENV)/.ready ## the tests on a real Kubernetes (CSITRACE_TEST_KUBECONFIG for one of your own)
	$(call need,$(DEBIAN_CLUSTER))
	@$(PYTHON) -m pytest -m cluster tests/cluster $(ARGS)

fuse-rounds: $(VENV)/.ready ## fifty rounds of a volume with its FUSE daemon in a pod, killed each time: nothing may leak
	$(call need,$(DEBIAN_CLUSTER))
	@CSITRACE_FUSE_ROUNDS=50 $(PYTHON) -m pytest -m cluster tests/cluster/fuse_pods -k rounds $(ARGS)

sanity: $(VENV)/.ready ## csi-sanity, whole, against driver_ref
	@$(PYTHON) tools/sanity.py

krew: $(VENV)/.ready ## the archive that krew installs, checked; its manifest: python -m tools.krew manifest --help
	@$(PYTHON) -m tools.krew archive $(ARGS)

bench: $(VENV)/.ready ## ratios measured side by side in this run
	$(call need,$(DEBIAN_TEST))
	@for b in benchmarks/[a-z]*.py; do echo "== $$b"; $(PYTHON) -m benchmarks.$$(basename $$b .py); done

screenshots: $(VENV)/.ready ## the pictures in screenshots/, from real runs
	$(call need,$(DEBIAN_TEST) $(DEBIAN_SCREENSHOTS))
	@$(PYTHON) -m screenshots.render

clean: ## caches and the virtual environment
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
