# What each target does: make help
.PHONY: help setup demo test test-browser test-cluster conformance drills check bench clean
# netfilter and network namespaces need root
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PY   := .venv/bin/python

help:           ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup:          ## install what the other targets need (Debian packages, .venv)
	@scripts/setup

demo: setup     ## the main job: a pod injected, then run with its traffic through Envoy, in network namespaces
	@$(SUDO) $(PY) -m demo $(ARGS)

test: setup     ## unit tests, and kernel tests in network namespaces
	@$(SUDO) $(PY) -m pytest -n auto --dist worksteal --timeout 600 $(ARGS)

test-browser: setup ## the dashboard in a real Chromium, over real Envoys and a real Prometheus, in network namespaces
	@scripts/setup chromium fonts-inter
	@$(SUDO) $(PY) -m pytest tests/browser $(ARGS)

test-cluster: setup ## the project's images and chart on a real Kubernetes (brings one up, or uses the one of KUBECONFIG)
	@$(SUDO) $(PY) -m pytest tests/cluster $(ARGS)

conformance: setup ## the Gateway API project's conformance suite on the cluster (ARGS: of the suite)
	@$(SUDO) $(PY) -m tests.cluster.conformance $(ARGS)

drills: setup   ## a real control plane and Envoy under churn, kills, bad objects and hostile clients (--drill-seconds N: longer)
	@$(SUDO) $(PY) -m pytest tests/drills $(ARGS)

check: setup    ## formatting, lint, types, import contracts
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: setup    ## measure, each figure as a ratio to something run beside it; writes bench.json
	@scripts/setup wrk
	@$(SUDO) $(PY) -m tests.bench $(ARGS)

clean:          ## remove what the other targets made in this folder
	rm -rf .venv build dist bench.json *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
