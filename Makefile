# Two commands on a fresh machine with Python 3.11+ and make: `make table` and `make test`.

PYTHON ?= python3
BIN    := .venv/bin
UV      = $(or $(shell command -v uv),$(BIN)/uv)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt
TABLE  ?=
BENCH   ?=
GPU_PYTHON  ?= python3
GPU_VERSION ?= 3.12
GPU_HAS     ?=
GPU_JSON    ?= out/gpu.json
SEED      ?= 0
MUTATIONS ?= 10000
KILLS     ?= 1000
TARGETS   ?=
MINUTES   ?= inf
# Bytecode is written whatever the machine's setting is: the tests start a hundred commands.
export PYTHONDONTWRITEBYTECODE :=
# Blocks of memory are kept between batches: page faults are half of a forward pass on a virtual machine.
PYTEST := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: table test test-all lint format coverage bench speed wheels gpu gpu-rehearsal break docs dist setup clean

table: .venv/runtime  ## run the bundled quickstart, print what is measured and missing; one table: make table TABLE=unifex_table5
	@$(BIN)/probe table $(TABLE)

test: .venv/dev     ## before a commit: every claim, in under four minutes on two cores
	@$(PYTEST) -m "not slow"

test-all: .venv/dev ## the rest, on top of `make test`: endurance runs, thousands of examples, whole pages run
	@EXAMPLES=many $(PYTEST) -m "slow or hypothesis"

lint: .venv/dev     ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: .venv/dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

coverage: .venv/dev ## write docs/coverage.md from docs/coverage.yaml
	@$(BIN)/python -m tests.coverage

bench: .venv/dev    ## what the docs claim, in turn with peers and limits, as a table and out/bench.json; a part: make bench BENCH=store
	@$(BIN)/python -m benchmarks $(BENCH)

speed: .venv/dev    ## docs/speed.md, its figures and plots, from out/bench.json and out/gpu.json where they are
	@$(BIN)/python -m benchmarks.page $(wildcard out/bench.json $(GPU_JSON))

wheels: .venv/dev   ## .wheels/: what a machine with a GPU and no network lacks; what it has besides: make wheels GPU_HAS="pytest rich"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(UV) pip install --quiet --python $(BIN)/python pip
	@$(BIN)/python -m benchmarks.wheels fill .wheels --python $(GPU_VERSION) --there $(GPU_HAS)

gpu:                ## on that machine: every test marked `cuda`, then a benchmark of six minutes, as out/gpu.json: docs/speed.md
	@$(GPU_PYTHON) -m benchmarks.wheels install .wheels .gpu
	@PYTHONPATH=.gpu $(GPU_PYTHON) -m benchmarks.gpu --json $(GPU_JSON)

gpu-rehearsal: .venv/dev ## the same here without a GPU, in seconds, in an environment that lacks what that machine lacks
	@$(BIN)/python -m benchmarks.rehearsal

break: .venv/dev    ## damage, kills and full disks, by the thousand: docs/reliability.md; make break MUTATIONS=500 KILLS=20
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice -n 10 $(BIN)/python -m tests.faults.campaign \
	  --seed $(SEED) --mutations $(MUTATIONS) --kills $(KILLS) --minutes $(MINUTES) --targets $(TARGETS)

docs: .venv/docs    ## docs/ and the docstrings as pages, site/index.html; every link is checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: .venv/dev     ## dist/: the wheel and the sdist, checked, and the wheel run outside the clone
	@rm -rf dist
	@$(UV) build --quiet --python $(BIN)/python
	@$(PYTEST) -n 0 tests/integration/distribution.py

setup: .venv/dev    ## all that tests and lint need

# Three stamps, so that nobody installs more than what is asked for: what `probe`'s commands need, the development tools,
# the documentation's. uv installs the first in well under a minute; where it is missing, pip brings it into .venv.
.venv/runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv (once) ..."
	@if command -v uv >/dev/null; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv \
	    || { echo "error: $(PYTHON) cannot make virtual environments; install python3-venv or uv."; exit 1; }; \
	  $(BIN)/python -m pip install --quiet uv; \
	fi
	@$(INSTALL) -e '.[report,transformers]'
	@touch $@

.venv/dev: private INSTALL += --compile-bytecode
.venv/dev .venv/docs: .venv/runtime
	@echo "Adding the $(@F) tools to .venv (once) ..."
	@$(INSTALL) -e '.[$(@F)]'
	@touch $@

clean:              ## remove the environment, the built files and this folder's results (caches and data are kept)
	rm -rf .venv out dist site .wheels .gpu
