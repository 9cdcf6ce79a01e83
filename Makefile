# What a person and CI both run. Needs Python 3.11 or newer with venv and pip, nothing else; where
# that is 3.14, a 3.13 beside it, for Label Studio.
#   make demo            two pre-annotated projects in a Label Studio of their own, until Ctrl-C
#   make demo CHECK=1    the same on free ports and new data: verify, print the tables, end
#   make demo GROUNDING_DINO=1   with the real text-prompted model (fetches its weights)
#   make demo RTMLIB=1   with the pose models of RTMLib (fetches their weights)
#   make test            lint, types, import rules, and all tests
#   make test-api        the tests of the server's HTTP interface alone
#   make soak            everything at once with faults, for MINUTES=10
#   make fuzz            the fuzz tests at length, with FUZZ_EXAMPLES=500
#   make dev-install     the environment that the tests need
#   make up              Label Studio and prelabel in containers; PROD=1, GPU=1: as their files say
#   make down            stop the containers; their data stays
#   make logs            what the containers say, until Ctrl-C

PYTHON ?= python3
LABEL_STUDIO_VERSION := 1.23.2
LABEL_STUDIO_PORT ?= 8080
BACKEND_PORT ?= 9090
# On Python 3.14 this Label Studio neither installs (NumPy is built from source) nor starts (what it
# pins imports what is gone): it gets an older one, where one with venv is installed.
STUDIO_PYTHON ?= $(shell for python in $(PYTHON) python3.13 python3.12 python3.11; do \
	"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info >= (3, 14))' 2>/dev/null \
	&& echo "$$python" && break; done)
ARTEFACTS := artefacts

# Three lanes at a time: those with a Label Studio or containers wait for other programs mostly.
PYTEST = $(BIN)/python -m pytest
LANE := --junitxml=$(ARTEFACTS)/pytest

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := pip install --quiet --disable-pip-version-check
STUDIO_VENV := .venv-labelstudio

# An environment is as new as its stamp; what it is made from is what the stamp depends on.
CORE := $(VENV)/.installed-core
TORCH := $(VENV)/.installed-torch
DEV := $(VENV)/.installed-dev
LABEL_STUDIO := $(STUDIO_VENV)/.installed-$(LABEL_STUDIO_VERSION)

DEMO_FLAGS := $(if $(CHECK),--check,--port $(LABEL_STUDIO_PORT) --backend-port $(BACKEND_PORT))
DEMO_FLAGS += $(if $(GROUNDING_DINO),--boxes-predictor grounding-dino)
DEMO_FLAGS += $(if $(RTMLIB),--poses-predictor rtmlib)
DEMO_FLAGS += --label-studio $(STUDIO_VENV)/bin/label-studio

# Compose is a plugin of docker, or, where that is missing, a program of its own.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
SITE = docker-compose$(if $(PROD),.prod)
# None named where none is asked for: Compose then takes docker-compose.override.yml too.
COMPOSE_FILES = $(if $(PROD)$(GPU),-f $(SITE).yml $(if $(GPU),-f $(SITE).gpu.yml))

.PHONY: demo test test-api lint types dev-install up down logs
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:
	@sed -n '2,14s/^#   //p' $(firstword $(MAKEFILE_LIST))

demo: $(CORE) $(if $(GROUNDING_DINO),$(TORCH)) $(LABEL_STUDIO)
	@$(BIN)/prelabel demo $(DEMO_FLAGS)

test: $(DEV) $(LABEL_STUDIO) lint types
	@mkdir -p $(ARTEFACTS)
	@echo "the tests with a Label Studio, and those with containers, run beside the others: shown at the end"
	@status=0; \
	$(PYTEST) -m "e2e" $(LANE)-e2e.xml >$(ARTEFACTS)/pytest-e2e.log 2>&1 & e2e=$$!; \
	$(PYTEST) -m "deploy or restarts" $(LANE)-deploy.xml >$(ARTEFACTS)/pytest-deploy.log 2>&1 & deploy=$$!; \
	$(PYTEST) -m "not (e2e or deploy or restarts)" $(LANE).xml || status=$$?; \
	wait $$e2e || status=$$?; \
	wait $$deploy || status=$$?; \
	cat $(ARTEFACTS)/pytest-e2e.log $(ARTEFACTS)/pytest-deploy.log; \
	echo "artefacts: logs and screenshots of the tests are in $(ARTEFACTS)/"; \
	exit $$status

test-api: $(DEV)
	@$(BIN)/python -m pytest tests/server

.PHONY: soak fuzz
soak: $(DEV) $(LABEL_STUDIO)
	@mkdir -p $(ARTEFACTS)
	@$(BIN)/python scripts/soak.py --minutes $(or $(MINUTES),10) \
		--label-studio $(STUDIO_VENV)/bin/label-studio --log $(ARTEFACTS)/soak.log

fuzz: $(DEV)
	@FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),500) $(BIN)/python -m pytest tests/fuzz

lint: $(DEV)
	@$(BIN)/ruff check --quiet --extend-exclude '.venv-*' .
	@$(BIN)/ruff format --quiet --check --extend-exclude '.venv-*' .
	@$(BIN)/shellcheck .envrc .ci/run scripts/*.sh deploy/*/*.sh
	@$(BIN)/lint-imports

types: $(DEV)
	@$(BIN)/mypy

dev-install: $(DEV)

up:
	@$(COMPOSE) $(COMPOSE_FILES) up -d

down:
	@$(COMPOSE) $(COMPOSE_FILES) down

logs:
	@$(COMPOSE) $(COMPOSE_FILES) logs --follow --tail 100

$(BIN)/python:
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml | $(BIN)/python
	@echo "installing prelabel into $(VENV)"
	@$(BIN)/$(PIP_INSTALL) --editable '.[pose]'
	@touch $@

# torch by version, first and alone: transformers is then content with it, whereas a range would
# bring the newest build with gigabytes of CUDA packages to machines that have no use for them.
$(TORCH): $(CORE)
	@echo "installing torch and transformers into $(VENV)"
	@$(BIN)/$(PIP_INSTALL) torch==2.13.0
	@$(BIN)/$(PIP_INSTALL) 'transformers>=5,<6'
	@touch $@

$(DEV): $(TORCH)
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/$(PIP_INSTALL) --editable '.[dev,pose]'
	@$(BIN)/$(PIP_INSTALL) --no-deps rtmlib==0.0.16
	@touch $@

$(STUDIO_VENV) $(STUDIO_VENV)/bin/label-studio: $(LABEL_STUDIO)

$(LABEL_STUDIO):
	@echo "installing Label Studio $(LABEL_STUDIO_VERSION) into $(STUDIO_VENV) (a minute or two)"
	@test -n '$(STUDIO_PYTHON)' || { \
		echo "Label Studio $(LABEL_STUDIO_VERSION) does not run on $$($(PYTHON) --version)." \
		"Install Python 3.13 with venv beside it, or name one: make STUDIO_PYTHON=/path/to/python3.13 …" >&2; \
		exit 1; }
	@$(STUDIO_PYTHON) -m venv $(STUDIO_VENV)
	@$(STUDIO_VENV)/bin/$(PIP_INSTALL) label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@
