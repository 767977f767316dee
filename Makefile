# make search: the main job, on real images that need no download. make help lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help notebook docs search test test-unit test-integration test-fast test-lowest test-cluster coverage chaos \
	check format install
help:
	@echo "make search     install what is missing, then search handwritten digits (about 2 minutes)"
	@echo "make test       install what is missing, then run all tests but those of clusters"
	@echo "make test-unit  the tests without Ray; make test-integration: those with it"
	@echo "make test-fast  the tests without Ray and networks of libraries"
	@echo "make test-lowest  the same with the lowest versions of all packages that pyproject.toml admits"
	@echo "make test-cluster  what takes a machine or several: hosts, nodes, buckets, databases, ports (10 minutes)"
	@echo "make coverage   the tests without Ray, and the lines that they do not run, by module"
	@echo "make chaos      a search on such hosts under 20 random faults; SEED=7 for those of that seed"
	@echo "make docs       build the documentation into site/"
	@echo "make notebook   run docs/search.ipynb and keep what came out"
	@echo "make install    install what is missing for working on toprung"
	@echo "make check      format, lint and types, as CI asks for"
	@echo "make format     format the code"

search: $(VENV)/.installed
	$(BIN)/python tune/run.py

# one thread a process, as the tests already use all cores
test-unit test-integration test-fast test-cluster coverage: export OMP_NUM_THREADS = 1

test: test-unit test-integration

test-unit: install
	$(BIN)/python -m pytest -n auto --ignore tests/integration --ignore tests/cluster

# module by module, two at a time, each in a Ray session of one core
test-integration: install
	$(BIN)/python -m pytest -n 2 --dist loadscope tests/integration

# module by module, two at a time, as the tests mostly wait
test-cluster: install
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -rs tests/cluster

chaos: install
	$(BIN)/python -m tests.cluster.chaos $(if $(SEED),--seed $(SEED))

coverage: install
	$(BIN)/python -m pytest -n auto --ignore tests/integration --ignore tests/cluster \
		--cov=search_spaces --cov=trainables --cov=tune --cov-branch --cov-report=term-missing:skip-covered

test-fast: install
	$(BIN)/python -m pytest -n auto -m "not slow" --ignore tests/integration --ignore tests/cluster \
		--ignore tests/trainables/pretrained

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed-dev

# the dependencies of a search, and in addition those of development
$(VENV)/.installed: WHAT = .
$(VENV)/.installed-dev: WHAT = .[dev]
# contains W&B's schema of sweeps; installed without dependencies, as it requires an older numpy
$(VENV)/.installed-dev: SCHEMA = sweeps==0.3.0

# uv takes seconds, pip takes minutes; both work
$(VENV)/.installed $(VENV)/.installed-dev: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		uv venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '$(WHAT)'; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(WHAT)'; \
	fi
	@$(if $(SCHEMA),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(SCHEMA))
	@touch $(VENV)/.installed $@

notebook: install
	PLOTLY_RENDERER=plotly_mimetype $(BIN)/python -m tests.notebook

# silences a note on the next mkdocs, which mkdocs-material prints at each build
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# in a new environment each time, as an existing one keeps its higher versions
LOWEST ?= .venv-lowest

test-lowest:
	uv venv --quiet --clear --python $(PYTHON) $(LOWEST)
	uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	uv pip install --quiet --python $(LOWEST)/bin/python --no-deps sweeps==0.3.0
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n auto -m "not slow" --ignore tests/integration \
		--ignore tests/cluster --ignore tests/trainables/pretrained
