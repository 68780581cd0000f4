# The commands that people and CI share. Everything lives in .venv; nothing outside the folder is changed.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: serve test test-system test-gpu lint models load clean
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

test-gpu: EXTRAS = gpu
test-gpu: .venv/test ## the tests that need a CUDA device, with its libraries (1.6 GB): they fail without; EXTRAS=gpu,tensorrt adds TensorRT's
	$(PIP) install --quiet --progress-bar off -c constraints.txt -e '.[$(EXTRAS)]'
	REQUIRE_GPU=1 $(BIN)/python -m pytest -rP tests/gpu

models: .venv/test ## train the three models again, with every variant
	$(BIN)/python -m models.train fashion-cnn
	$(BIN)/python -m models.train activity-lstm
	$(BIN)/python -m models.train sentiment-transformer

load: HOST = http://127.0.0.1:8000
load: SHAPE = steady
load: OPTIONS =
load: .venv/test ## Locust against a running service; HOST=, SHAPE=steady|ramp|spike|soak, OPTIONS="--run-time 60s --p99-ms 100"
	$(BIN)/python -m loadtests --headless --only-summary --host $(HOST) --shape $(SHAPE) --report .evergreen/load $(OPTIONS)

.PHONY: compare
compare: .venv/test ## Evergreen beside six other servers, about 40 quiet minutes; parts of it: .venv/bin/python -m loadtests.compare --help
	$(BIN)/python -m loadtests.compare

.PHONY: drift-benchmark
drift-benchmark: .venv/test ## how well drift is told, with rivals in the same harness, about half an hour; parts of it: .venv/bin/python -m loadtests.drift --help
	$(BIN)/python -m loadtests.drift

.PHONY: interruptions
interruptions: OPTIONS =
interruptions: .venv/test ## a hundred kills, full disks and absences at any step of retraining, checked after each: about three quarters of an hour; OPTIONS="--count 10 --seed 2"
	$(BIN)/python -m loadtests.interruptions $(OPTIONS)

.PHONY: demo
demo: OPTIONS =
demo: .venv/test ## the loop on real data, watched, in under five minutes; OPTIONS="fashion-cnn --output demo", OPTIONS="--unseen 1,2,3"
	$(BIN)/evergreen demo $(OPTIONS)

.PHONY: up image-proof
up: ## the service, PostgreSQL, Prometheus, Alertmanager and Grafana in containers; COMPOSE_PROFILES=gpu make up
	deploy/compose/secrets.sh
	docker compose --file deploy/compose.yaml up --build --detach --wait

image-proof: .venv/test ## build the Dockerfile with buildah on a fresh Debian and start what it makes; as root, about four minutes
	PROVE_IMAGE=1 $(BIN)/python -m pytest -o faulthandler_timeout=900 tests/system/test_image.py

# In an environment of their own: they are no part of what they look through.
AUDIT := pip-audit==2.10.1 cyclonedx-bom==7.5.0
.venv/audit: .venv/python
	$(PYTHON) -m venv .venv/auditing
	.venv/auditing/bin/python -m pip --disable-pip-version-check install --quiet --progress-bar off $(AUDIT)
	@touch $@

.PHONY: audit sbom
audit: STRICT = --strict
audit: .venv/audit ## known vulnerabilities of every version in constraints.txt, as PyPI tells them; fails where there is one, or where PyPI does not know a version; STRICT= lists those and goes on
	.venv/auditing/bin/pip-audit $(STRICT) --no-deps --disable-pip --requirement constraints.txt

sbom: .venv/audit ## what is installed in .venv, with licences and hashes, as CycloneDX: dist/sbom.json
	mkdir -p dist
	.venv/auditing/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible --output-file dist/sbom.json $(BIN)/python

.PHONY: torture
torture: OPTIONS =
torture: .venv/test ## faults and hostile clients against services of its own, every answer verified, about 10 minutes; OPTIONS="--only 'disk full' --rounds 1"
	$(BIN)/python -m loadtests.torture $(OPTIONS)

.PHONY: fuzz
fuzz: .venv/test ## coverage-guided fuzzing of the parser of /v2's bodies, ten minutes; what it has found interesting stays in .evergreen/fuzzing
	$(BIN)/python -m loadtests.torture.fuzzing -max_total_time=600

.PHONY: dashboards
dashboards: .venv/test ## both Grafana dashboards as pictures, while a model is slowed down and another is retrained, about nine minutes; parts of it: .venv/bin/python -m loadtests.dashboards --help
	$(BIN)/python -m loadtests.dashboards

clean:
	rm -rf .venv .evergreen
