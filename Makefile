# Two commands on a fresh machine with Python 3.11+ and make: `make table` and `make test`.

PYTHON ?= python3
BIN    := .venv/bin
TABLE  ?=
BENCH   ?= $(patsubst benchmarks/%.py,%,$(shell grep -l '^def main' benchmarks/*.py))
PARALLEL := -n 2 --dist loadfile

.PHONY: table test test-fast lint format bench setup clean

table: setup        ## run the bundled quickstart, print what is measured and missing; one table: make table TABLE=unifex_table5
	@$(BIN)/probe table $(TABLE)

test: setup         ## all tests
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-fast: setup    ## the tests that take less than about ten seconds each
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: setup         ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup        ## measurements side by side with peers and limits; one of them: make bench BENCH=store
	@for name in $(BENCH); do $(BIN)/python -m benchmarks.$$name || exit 1; done

setup: .venv/installed

# uv installs the stack in well under a minute; where it is missing, pip brings it into the new environment.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv (once) ..."
	@if command -v uv >/dev/null; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv; \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv \
	    || { echo "error: $(PYTHON) cannot make virtual environments; install python3-venv or uv."; exit 1; }; \
	  $(BIN)/python -m pip install --quiet uv && \
	  $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

clean:              ## remove the environment and this folder's results (caches and data are kept)
	rm -rf .venv out
