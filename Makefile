# The same commands as CI. `make run` and `make test` set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin

# Where byte code may not be kept, as in many containers, each of the hundreds of processes that the
# tests start would compile torch anew: 6 seconds of a processor.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test gpu integration coverage shuffled faults mutants soak check bench docs pictures clean
.DEFAULT_GOAL := run

run: .venv/installed
	$(BIN)/gfjobs submit examples/quickstart.yaml

# What needs clusters, kills or a compiler is `make integration`.
QUICK := -n 2 --dist worksteal --ignore=tests/integration --ignore=tests/cluster
SLOW := -n 2 --dist loadgroup tests/integration tests/cluster

test: .venv/installed
	$(BIN)/pytest $(QUICK)

# Proves this installation on an NVIDIA GPU, in at most 8 minutes; a rehearsal without one:
# make gpu ARGS=--cpu
gpu: .venv/installed
	$(BIN)/python -m tests.gpu $(ARGS)

integration: .venv/installed
	$(BIN)/pytest $(SLOW)

# Lines and branches of each package that both run, in all processes. The figures come also where a
# test fails: coverage.py handles SIGTERM itself, which two tests of signals notice.
coverage: .venv/installed
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest $(QUICK)
	-$(BIN)/coverage run -m pytest $(SLOW)
	$(BIN)/coverage combine --quiet
	$(BIN)/python -m tests.covered

# Every test twice in random order, then each alone: for once a week.
shuffled: .venv/installed
	$(BIN)/pytest -p randomly --keep-duplicates --ignore=tests/integration --ignore=tests/cluster tests tests
	$(BIN)/python -m tests.alone

# All faults and many examples, or some faults: make faults FAULTS="driver-killed network-30s"
faults: .venv/installed
	PYTHONPATH=.:tests $(BIN)/python -m faults.table $(FAULTS)
	$(if $(FAULTS),,$(BIN)/python -m tests.fuzz --inputs 100000)
	$(if $(FAULTS),,$(BIN)/pytest --hypothesis-profile=many tests/jobs/runs/test_amend.py tests/jobs/analysis/test_certificate.py)

# Of all modules and queries that decide figures and commits, or of some:
# make mutants MODULES="jobs/driver/placement.py storage/queries/ladder/ladder.sql"
mutants: .venv/installed
	nice $(BIN)/python -m tests.mutants $(MODULES)

soak: .venv/installed
	$(BIN)/python benchmarks/soak.py --minutes 60

check: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	for script in $(filter-out benchmarks/soak.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

# The site, in build/site; while you write: make docs ARGS=serve
docs: .venv/installed
	$(BIN)/python -m mkdocs $(or $(ARGS),build)

# The pictures of the README, from runs made for them; needs a Chromium.
pictures: .venv/installed
	PYTHONPATH=. $(BIN)/python docs/pictures/make.py

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 10) else f"gfjobs needs Python 3.10 or newer; {sys.executable} is {v[0]}.{v[1]}. Choose another: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@echo "installing torch, ray and the rest into .venv: 3 to 5 minutes the first time, and about 7 GB with"
	@echo "torch's CUDA wheels, 3 GB with its CPU wheels (docs/start.md)"
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; $(BIN)/pip install $$quiet --no-compile --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv results build/site
