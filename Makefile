# make test, make run and make bench each make .venv first, and again when the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without compiled modules each of the hundreds of processes that the tests start compiles them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test test-all run bench check words clean

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	# It asks for PyTorch, and needs none of it to convert an ONNX file.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pnnx==20261020
	touch $@

run: $(VENV)/.run
	$(BIN)/python app.py --downloads $(ARGUMENTS)

# Two tests at a time; then those that measure, one at a time.
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

# The page's catalogues, in step with what the source says.
words: $(VENV)/.dev
	$(BIN)/python tools/words.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
