# make search: the main job, on real images that need no download. make help lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.toprung

.PHONY: help search test test-fast check format install
help:
	@echo "make search     install what is missing, then search handwritten digits (about 2 minutes)"
	@echo "make test       install what is missing, then run all tests"
	@echo "make test-fast  the tests without Ray and networks of libraries, on all cores"
	@echo "make check      format, lint and types, as CI asks for"
	@echo "make format     format the code"

search: install
	$(BIN)/python tune/run.py

test: install
	$(BIN)/python -m pytest

test-fast: install
	$(BIN)/python -m pytest -n auto -m "not slow" --ignore tests/integration --ignore tests/finetuning

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(STAMP)

# uv takes seconds where pip takes minutes; either will do
$(STAMP): pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@
