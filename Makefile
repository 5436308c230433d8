# Every target works on its own on a fresh clone: it makes .venv first where there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run chat test check format bench soak mini clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## Make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kogpt-bot needs Python 3.11 or newer; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first: with its exact version named, a CPU wheel on disk is taken where there is one.
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(BIN)/pip install --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

run: $(READY)  ## Serve the chat page at http://127.0.0.1:8080
	$(BIN)/kogpt-bot run

chat: $(READY)  ## Chat in the terminal
	$(BIN)/kogpt-bot chat

test: $(READY)  ## Run the tests; in two processes: make test WORKERS=2
	$(BIN)/pytest $(if $(WORKERS),--numprocesses=$(WORKERS) --dist=worksteal)

check: $(READY)  ## Lint, types, import rules, and the example configuration
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/kogpt-bot config check config.example.yaml

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Measure the memory of loading; beside peers: docs/engine.md, Figures
	$(BIN)/python -m benchmarks

soak: $(READY)  ## Half an hour of load, 50 stops, and 500 kills: make soak MINUTES=30
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)
	KOGPT_BOT_STOPS=50 KOGPT_BOT_KILLS=500 KOGPT_BOT_LOCK_S=30 $(BIN)/pytest -s tests/fault

mini: $(READY)  ## Train the bundled model anew: make mini CORPUS=FOLDER (hours; goes on where it was)
	$(BIN)/python -m training.mini --corpus $(CORPUS)

clean:  ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
