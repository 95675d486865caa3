# What each target does: `make help`. Needs Python 3.11 or 3.12 and make (3.81 or later), nothing else.
# PYTHON names the interpreter that the virtual environment is made with, VENV its folder, PORT the UI's port, WORKERS
# the number of processes that run the tests: one more than two cores, because many tests wait for a program they start.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test check both ui bench soak clean lock home

PORT ?= 3000
VENV ?= .venv
WORKERS ?= 3
FIND_PYTHON = for p in python3.12 python3.11 python3 python; do \
	  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo "$$p" && break; done; :
BIN := $(VENV)/bin

# Dagster's home is in the folder for local state, and it calls nobody.
STATE := $(or $(filter /%,$(PLATFORM_STATE_DIR)),$(abspath $(or $(PLATFORM_STATE_DIR:%=config/%),.platform)))
export DAGSTER_HOME := $(STATE)/dagster
export DAGSTER_DISABLE_TELEMETRY := yes
export DO_NOT_TRACK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The pip of Debian 12 would build pyhocon in a way that it warns about.
export PIP_USE_PEP517 := 1

# An installation is named by what it was made from: the lock, pyproject.toml and the interpreter's version. Who has
# the tools for development keeps them: `make run` then uses, and renews, the larger set.
VERSION := $(shell "$(or $(PYTHON),$(BIN)/python)" -V 2>/dev/null | tr -d ' ')
RUNTIME_KEY := $(VENV)/.runtime-$(shell cat requirements.lock pyproject.toml | cksum | tr -s ' ' '-')
DEV_KEY := $(VENV)/.dev-$(shell cat requirements-dev.lock pyproject.toml | cksum | tr -s ' ' '-')
RUNTIME := $(RUNTIME_KEY)-$(VERSION)
DEV := $(DEV_KEY)-$(VERSION)
INSTALLED := $(if $(wildcard $(VENV)/.dev-*),$(DEV),$(RUNTIME))

help: ## List the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

run: $(INSTALLED) home ## Install what is missing and run the main job on the embedded database; ends with a summary
	@unset DAGSTER_HOME; $(BIN)/platform-assets prepare --env-file .env && $(BIN)/platform-assets run

ui: $(INSTALLED) home ## Serve the Dagster UI and its daemon on 127.0.0.1:3000 (PORT=...)
	@unset DAGSTER_HOME; $(BIN)/platform-assets prepare --env-file .env && \
	  exec $(BIN)/platform-assets ui --port $(PORT)

test: $(DEV) home ## Run all tests and measure their coverage
	@rm -rf .coverage .coverage.*
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -p platform_assets_tests.fixtures.lines $(ARGS)
	@$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report

check: $(DEV) home ## Check style, types, security and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive platform_assets
	AUDIT_OFFLINE=$${AUDIT_OFFLINE:-allowed} $(BIN)/python .ci/audit.py requirements-dev.lock

both: ## Run check and test on Python 3.11 and 3.12, each in an environment of its own, where it is installed
	@for version in 3.11 3.12; do if python$$version -c '' 2>/dev/null; then \
	  $(MAKE) check test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else echo "Python $$version is not installed: not checked"; fi; done

bench: $(DEV) home ## Run every measurement in benchmarks/
	@missed=""; for benchmark in benchmarks/*.py; do \
	  if [ -e "$$benchmark" ]; then echo "== $$benchmark"; $(BIN)/python "$$benchmark" || missed="$$missed $$benchmark"; fi; \
	  done; [ -z "$$missed" ] || { echo "Failed, or missed its limits:$$missed" >&2; exit 1; }

soak: $(DEV) home ## Run what takes an hour: all examples of the properties; capture with late commits; runs at once
	@$(BIN)/python -m pytest --hypothesis-profile thorough -m "hypothesis or soak or thorough" $(ARGS)
	@$(BIN)/python -m pytest platform_assets_tests/source/soak_capture.py $(ARGS)
	@$(BIN)/python -m pytest platform_assets_tests/integration/soak_runs.py $(ARGS)

lock: ## Resolve the dependencies anew and rewrite both lock files
	@$(call make_venv,.venv-lock)
	@.venv-lock/bin/python -m pip install --quiet --upgrade uv
	@set -e; compile() { .venv-lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	    --upgrade --generate-hashes --no-header --no-annotate --no-strip-extras --no-emit-index-url --no-emit-find-links \
	    --group build "$$@"; }; \
	  compile --output-file requirements.lock; \
	  compile --extra aws --extra celery --extra delivery --extra gcp --extra kubernetes --extra notebook --extra openlineage \
	    --extra postgres --extra sail --extra snowflake --extra spark --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Stop the embedded database; remove everything that was made here, its data included
	@if [ -x $(BIN)/platform-assets ] && [ -d .platform ]; then unset DAGSTER_HOME; \
	  $(BIN)/platform-assets check-idle; if [ $$? -eq 3 ]; then exit 1; fi; \
	  $(BIN)/platform-assets sample stop || true; fi
	rm -rf .platform .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* coverage.xml
	@if head -n 1 .env 2>/dev/null | grep -q '^# Written by make'; then rm .env; fi
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The instance's configuration, and for commands typed outside the environment a .env, which dagster reads itself.
home:
	@mkdir -p "$(DAGSTER_HOME)"
	@cmp -s dagster.yaml "$(DAGSTER_HOME)/dagster.yaml" || cp dagster.yaml "$(DAGSTER_HOME)/dagster.yaml"
	@if [ ! -e .env ] || head -n 1 .env | grep -q '^# Written by make'; then \
	  printf '%s\n' '# Written by make; remove this line to keep your changes.' \
	    "DAGSTER_HOME=\"\$${DAGSTER_HOME:-$(DAGSTER_HOME)}\"" 'DAGSTER_DISABLE_TELEMETRY=yes' > .env.new; \
	  cmp -s .env.new .env && rm .env.new || mv .env.new .env; fi

$(RUNTIME):
	@$(call make_venv,$(VENV))
	@$(call install,requirements.lock,$(RUNTIME_KEY))

$(DEV):
	@$(call make_venv,$(VENV))
	@$(call install,requirements-dev.lock,$(DEV_KEY))

# Keep the virtual environment where its interpreter still works and is the one asked for; make it otherwise.
define make_venv
set -e; python="$(PYTHON)"; \
  if [ -z "$$python" ] && $(1)/bin/python -c 'import sys' 2>/dev/null; then exit 0; fi; \
  [ -n "$$python" ] || python=$$($(FIND_PYTHON)); \
  [ -n "$$python" ] || { echo "Python 3.11 or 3.12 is needed and none was found; name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
  version=$$("$$python" -V 2>&1) || { echo "$$python cannot be run: $$version. Name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
  case "$$version" in *\ 3.11.*|*\ 3.12.*) ;; *) echo "$$python is $$version. Python 3.11 or 3.12 is needed: the dependencies are locked for these two." >&2; exit 1;; esac; \
  [ "$$version" != "$$($(1)/bin/python -V 2>/dev/null)" ] || exit 0; \
  echo "Making $(1) with $$version"; rm -rf $(1); \
  "$$python" -m venv $(1) || { echo "$$python cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }; \
  printf '\n# Written by make: commands typed in this environment use the same instance as make, and it calls nobody.\n%s\n%s\n' \
    'if head -n 1 "$(CURDIR)/.env" 2>/dev/null | grep -q "^# Written by make"; then set -a; . "$(CURDIR)/.env"; set +a; fi' \
    'export DAGSTER_DISABLE_TELEMETRY=yes' >> $(1)/bin/activate
endef

# setuptools comes first: the tests' pyhocon has no wheel, and an isolated build would fetch what no lock names.
define install
set -e; echo "Installing what $(1) lists"; rm -f $(VENV)/.runtime-* $(VENV)/.dev-*; \
  awk '/^setuptools==/ { on = 1 } on { print } !/\\$$/ { on = 0 }' $(1) > $(VENV)/setuptools.txt; \
  $(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(VENV)/setuptools.txt; \
  $(BIN)/python -m pip install --quiet --no-deps --require-hashes --no-build-isolation -r $(1); \
  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
  touch "$(2)-$$($(BIN)/python -V | tr -d ' ')"
endef
