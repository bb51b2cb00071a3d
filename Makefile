# make test, make run and make bench create .venv first, and update it when the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The tests start hundreds of processes, which would compile all modules again without .pyc files.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test test-all run bench check words clean

$(VENV)/.run: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	# --no-deps: pnnx requires PyTorch, but does not use it to convert an ONNX file.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pnnx==20261020
	touch $@

run: $(VENV)/.run
	$(BIN)/python app.py --downloads $(ARGUMENTS)

# Run two tests at a time, then the tests that measure one at a time.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not alone"
	$(BIN)/python -m pytest -m "not slow and alone"

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not alone"
	$(BIN)/python -m pytest -m alone

bench: $(VENV)/.run
	$(BIN)/python -m rembg_tuner bench $(ARGUMENTS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

# Update the page's catalogues from the texts in the source.
words: $(VENV)/.dev
	$(BIN)/python tools/words.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
