# The front door. Targets only set the environment up and call pyinfra or sipstack.
SHELL := /bin/bash
.DEFAULT_GOAL := help
INVENTORY ?= inventories/lab.py
BIN := .venv/bin
# Also in a copy that is no checkout.
SOURCES = $(shell git ls-files 2>/dev/null || find * .ci -type f -not -name '*.pyc')

.PHONY: help demo deploy verify status rehearse test test-all lint unit clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: .venv/ready ## one throw-away host on this machine: deployed, proved with calls, left running
	@$(BIN)/sipstack demo

deploy: .venv/ready ## deploy INVENTORY
	@$(BIN)/pyinfra $(INVENTORY) deploy.py -y

verify: .venv/ready ## prove INVENTORY with real calls
	@$(BIN)/sipstack verify $(INVENTORY)

rehearse: .venv/ready ## play INVENTORY on throw-away hosts with its names and addresses: deploy, verify, leave up
	@$(BIN)/sipstack rehearse $(INVENTORY)

status: .venv/ready ## INVENTORY at a glance: release, health, bindings, calls, gateways, drift
	@$(BIN)/sipstack status $(INVENTORY)

test: lint ## lint, unit tests, and the lab end to end: one host and a fleet, but for the slow tests
	@$(BIN)/python -m pytest tests/unit tests/lab -m "not slow"

test-all: lint ## everything that there is to test
	@$(BIN)/python -m pytest tests/unit tests/lab

lint: .venv/ready ## style, types, shell scripts, Dockerfiles, and that no secret is in a file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@grep -lE '^#!/bin/(ba)?sh' $(SOURCES) | xargs $(BIN)/shellcheck
	@$(BIN)/hadolint $(filter %Dockerfile,$(SOURCES))
	@$(BIN)/detect-secrets-hook $(SOURCES)

unit: .venv/ready ## the tests that need no host
	@$(BIN)/python -m pytest tests/unit

clean: ## remove the lab, its images, and what was generated for it
	@if [ -x $(BIN)/sipstack ]; then $(BIN)/sipstack lab down --all; fi
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info

# Python's environment, with exactly the packages of the lock file.
.venv/ready: requirements.lock pyproject.toml
	@tools/environment
	@touch $@
