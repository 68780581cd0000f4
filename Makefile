# The commands that people and CI share. Everything lives in .venv; nothing outside the folder is changed.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: serve test test-system lint models load clean
.DEFAULT_GOAL := serve

.venv/python:
	$(PYTHON) -m venv .venv
	@touch $@

# The stamps say what is installed, so that the second `make serve` starts at once.
.venv/serve: .venv/python pyproject.toml constraints.txt
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e .
	@touch $@

.venv/test: .venv/python pyproject.toml constraints.txt
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[test]'
	@touch $@ .venv/serve

serve: .venv/serve ## install what serving needs and serve the committed models on port 8000
	$(BIN)/evergreen serve

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, types, architecture and the test suite
	$(BIN)/python -m pytest -m "not system"

test-system: .venv/test ## the tests that need programs of the distribution, whole data sets or minutes
	$(BIN)/python -m pytest -m system

models: .venv/test ## train the three models again, with every variant
	$(BIN)/python -m models.train fashion-cnn
	$(BIN)/python -m models.train activity-lstm
	$(BIN)/python -m models.train sentiment-transformer

load: .venv/test ## Locust against a running service
	$(BIN)/locust -f loadtests/locustfile.py --headless --users 16 --spawn-rate 16 --run-time 30s --host http://127.0.0.1:8000

clean:
	rm -rf .venv .evergreen
