# What each target does: `make help`. Needs Python 3.11 or 3.12 and make (3.81 or later), nothing else.
# PYTHON names the interpreter that the virtual environment is made with, VENV its folder, PORT the UI's port, WORKERS
# the number of processes that run the tests: one more than two cores, because many tests wait for a program they start.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test check both ui bench soak clean lock home plan-example style-check build smoke-test push python-pkg-refresh

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
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-23s %s\n", $$1, $$2 }'

run: $(INSTALLED) home ## Install what is missing and run the main job on the embedded database; ends with a summary
	@unset DAGSTER_HOME; $(BIN)/platform-assets prepare --env-file .env && $(BIN)/platform-assets run

ui: $(INSTALLED) home ## Serve the Dagster UI and its daemon on 127.0.0.1:3000 (PORT=...)
	@unset DAGSTER_HOME; $(BIN)/platform-assets prepare --env-file .env && \
	  exec $(BIN)/platform-assets ui --port $(PORT)

test: $(DEV) home ## Run all tests and measure their coverage
	@rm -rf .coverage .coverage.*
	@unset PYTHONDONTWRITEBYTECODE; $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -p platform_assets_tests.fixtures.lines $(ARGS)
	@$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report $(COVERAGE:%=--fail-under=%)

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

soak: $(DEV) home ## Run what takes an hour: all examples of the properties; capture with late commits; runs at once; kills among everything
	@$(BIN)/python -m pytest --hypothesis-profile thorough -m "hypothesis or sampled or soak or thorough" $(ARGS)
	@$(BIN)/python -m pytest platform_assets_tests/source/soak_capture.py $(ARGS)
	@$(BIN)/python -m pytest platform_assets_tests/integration/soak_runs.py $(ARGS)
	@$(BIN)/python -m pytest platform_assets_tests/integration/soak_life.py $(ARGS)

plan-example: $(DEV) home ## Show what Terraform would make on AWS for its example; a local server plays AWS
	@PYTHONPATH=. $(BIN)/python .ci/plan_example.py

lock: ## Resolve the dependencies again and rewrite both lock files
	@$(call make_venv,.venv-lock)
	@.venv-lock/bin/python -m pip install --quiet --upgrade uv
	@sh deploy/image/lock.sh .venv-lock/bin/uv

# The image. CONTAINER is docker, podman or buildah; by default the first that works on this machine. IMAGE names the
# image, TAG its version, EXTRAS the extras that are in it. BUILD_ARGS go to the builder as they are: another base
# (--build-arg BASE_IMAGE=...), or pip's configuration for a mirror (--secret id=pip_conf,src=pip.conf).
CONTAINER ?= $(shell for c in docker podman buildah; do "$$c" info > /dev/null 2>&1 && echo "$$c" && break; done)
IMAGE ?= platform_assets
TAG ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo local)
EXTRAS ?= aws,postgres
BUILD_ARGS ?=
# The date of all files in the image: one date for ever, so that the same content is the same layer, whether a builder
# took it from its cache or made it again. The label says when the sources were committed.
SOURCE_DATE_EPOCH ?= 315532800
CREATED ?= $(or $(shell TZ=UTC git log -1 --date=format-local:%FT%TZ --format=%cd 2>/dev/null),1980-01-01T00:00:00Z)

style-check: $(DEV) ## Check the Dockerfile with hadolint
	$(BIN)/hadolint Dockerfile

build: ## Build the image: IMAGE=name, TAG=version, EXTRAS=aws,postgres, CONTAINER=docker, podman or buildah
	@$(container_found)
	$(call build_stage,target-image,$(IMAGE):$(TAG),pinned)

smoke-test: ## Build and run the smoke test, then look at the image itself
	@$(container_found)
	$(call build_stage,smoke-test,$(IMAGE)-smoke:$(TAG),pinned)
	$(call run_image,$(IMAGE)-smoke:$(TAG),python /build/smoke_test.py)
	$(call build_stage,target-image,$(IMAGE):$(TAG),pinned)
	$(call run_image,$(IMAGE):$(TAG),python - --shipped < deploy/image/smoke_test.py)

push: ## Push the image to its registry: IMAGE=registry.example.org/platform_assets TAG=1.0
	@$(container_found)
	$(CONTAINER) push $(if $(filter docker,$(CONTAINER)),,--compression-format zstd --compression-level 9) $(IMAGE):$(TAG)

python-pkg-refresh: ## Resolve and install the newest packages in a container, try them, and copy the new locks out
	@$(container_found)
	$(call build_stage,smoke-test,$(IMAGE)-refresh:$(TAG),refresh)
	$(call run_image,$(IMAGE)-refresh:$(TAG),python /build/smoke_test.py)
	$(call copy_locks,$(IMAGE)-refresh:$(TAG))
	$(CONTAINER) rmi $(IMAGE)-refresh:$(TAG)

container_found = [ -n "$(CONTAINER)" ] || { echo "No docker, podman or buildah works on this machine. Install one, or name one: make CONTAINER=podman" >&2; exit 1; }; \
  command -v $(CONTAINER) > /dev/null || { echo "$(CONTAINER) is not installed on this machine. Install it, or name another: docker, podman or buildah" >&2; exit 1; }; \
  [ "$(CONTAINER)" != docker ] || docker buildx version > /dev/null 2>&1 || { echo "docker has no buildx, which builds the image. Install docker-buildx-plugin, or docker-buildx from the packages of Debian or Ubuntu" >&2; exit 1; }

# A stage, its name, and where the versions of the packages come from. podman and buildah give every file in a layer the
# date of SOURCE_DATE_EPOCH; docker only dates the image with it, see docs/deploy_vm.md.
define build_stage
$(CONTAINER) $(if $(filter docker,$(CONTAINER)),buildx build --load --provenance=false \
    --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH),build --layers --format docker --timestamp $(SOURCE_DATE_EPOCH)) \
    --target $(1) --tag $(2) --build-arg PYTHON_PKG_VERSIONS=$(3) --build-arg EXTRAS=$(EXTRAS) \
    --build-arg VERSION=$(TAG) --build-arg REVISION=$(or $(shell git rev-parse HEAD 2>/dev/null),unknown) \
    --build-arg CREATED=$(CREATED) \
    $(BUILD_ARGS) .
endef

# Run a command in an image as production does. buildah has no read-only root file system; it starts a copy.
define run_image
$(if $(filter buildah,$(CONTAINER)),container=$$(buildah from $(1)) && { buildah run $$container -- $(2); code=$$?; \
    buildah rm $$container > /dev/null; exit $$code; },$(CONTAINER) run --rm --interactive --read-only --tmpfs /tmp \
    --network none --cap-drop ALL --security-opt no-new-privileges $(1) $(2))
endef

define copy_locks
$(if $(filter buildah,$(CONTAINER)),container=$$(buildah from $(1)) && { folder=$$(buildah mount $$container) && \
    cp "$$folder/build/locks/requirements.lock" "$$folder/build/locks/requirements-dev.lock" .; code=$$?; \
    buildah rm $$container > /dev/null; exit $$code; },container=$$($(CONTAINER) create $(1)) && { \
    $(CONTAINER) cp $$container:/build/locks/requirements.lock . && \
    $(CONTAINER) cp $$container:/build/locks/requirements-dev.lock .; code=$$?; \
    $(CONTAINER) rm $$container > /dev/null; exit $$code; })
endef

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

# setuptools comes first: the tests' pyhocon has no wheel, and an isolated build would fetch what no lock names. pip
# compiles with one core what it installs; compileall takes all of them. Files that are templates do not compile.
define install
set -e; echo "Installing what $(1) lists"; rm -f $(VENV)/.runtime-* $(VENV)/.dev-*; \
  awk '/^setuptools==/ { on = 1 } on { print } !/\\$$/ { on = 0 }' $(1) > $(VENV)/setuptools.txt; \
  pip="$(BIN)/python -m pip install --no-compile --quiet --no-deps"; \
  $$pip --require-hashes -r $(VENV)/setuptools.txt; \
  $$pip --require-hashes --no-build-isolation -r $(1); \
  $$pip --no-build-isolation --editable .; \
  $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true; \
  touch "$(2)-$$($(BIN)/python -V | tr -d ' ')"
endef
