# Targets for people; `make help` lists them. Everything runs inside .venv, which `make setup` makes.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
# Modules compile when they are first imported (most never are), so what that gives must be kept.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
ARGS ?=
# Processes that share the tests, file by file.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-services check fix bench schema

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(DEV) ## Make .venv and install everything, tools for tests and checks too

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or run make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(INSTALL) --editable .
	@touch $@

$(DEV): $(STAMP)
	$(INSTALL) --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Set up the demonstration, print a traced answer, serve the site (ARGS=--once ends after the answer)
	@$(BIN)/python manage.py demo $(ARGS)

run: $(STAMP) ## Serve the site on loopback
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py serve $(ARGS)

test: $(DEV) ## Run the tests (SQLite, no services; browser tests when Chromium is there)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-services: $(DEV) ## Run the tests that touch database, queue or streams on PostgreSQL and Redis
	DATABASE_URL=$${DATABASE_URL:-postgres://postgres@127.0.0.1:5432/postgres} REDIS_URL=$${REDIS_URL:-redis://127.0.0.1:6379/15} FAIRGROUND_SECRET_KEY=tests-only OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest -q -p tests.own_redis -n $(WORKERS) --dist loadfile tests/webapp tests/accounts tests/transparency tests/tracer tests/playground tests/arena --ignore=tests/tracer/engine --ignore=tests/arena/rating --ignore=tests/arena/sampling $(ARGS)

check: $(DEV) ## Lint, types, import rules, templates, migrations, schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py check
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn | diff -u docs/openapi.yaml -

schema: $(DEV) ## Write docs/openapi.yaml anew
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

fix: $(DEV) ## Format and mend what can be mended by machine
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## Print the figures that the README claims
	$(BIN)/python -m benchmarks.trace
	$(BIN)/python -m benchmarks.build
	$(BIN)/python -m benchmarks.generate
	$(BIN)/python -m benchmarks.bandwidth
	$(BIN)/python -m benchmarks.first_token
