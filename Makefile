# Everything here works on a fresh machine: `make run` and `make test` fetch what they need.
# Any Python from 3.11 on; empty: the first that is found.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# A process for each core, four at most: tests start real programs beside themselves.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.PHONY: run test test-fast lint bench generate docs clean system-packages

run: $(VENV)
	$(BIN)/overcurrent demo --serve

test: $(VENV) system-packages
	$(BIN)/python -m pytest -q $(PARALLEL)

test-fast: $(VENV)
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not slow"

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)
	$(BIN)/python -m benchmarks

generate: $(VENV)
	$(BIN)/overcurrent generate .

docs: $(VENV)
	$(BIN)/python -m collector.dialects.reference
	$(BIN)/python -m collector.handbook

system-packages:
	@./scripts/system-packages

# Made anew when the lock changes; a half-made one is never taken for whole.
$(VENV): requirements.lock pyproject.toml scripts/make-venv
	@./scripts/make-venv "$(PYTHON)" "$(VENV)"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
