# One word for each thing a developer does; `make` alone lists them.

PYTHON ?=
BIN = .venv/bin
READY = .venv/.ready
RUN = $(BIN)/python -m
# Two processes, each with a server and a database of its own: half of the time is waiting.
SUITE = pytest -n 2 --dist worksteal --durations 25
QUICK = $(SUITE) -m "not slow and not browser and not prove and not wheel"
SLOW = $(SUITE) -m "slow and not prove and not browser and not wheel"
ONE_ROW = $(SUITE) -m "one_row and not prove and not browser and not wheel"
# What depends on the database or the server, which is all but a few.
ON_POSTGRES = $(SUITE) -m "not one_row and not browser and not prove and not wheel"
# Many tests start processes of ours. Where no bytecode may be kept, each compiles all modules again,
# which is half of its start.
unexport PYTHONDONTWRITEBYTECODE
PLAYWRIGHT = $(BIN)/python -c "import playwright" 2>/dev/null || $(RUN) pip install -q "playwright>=1.49,<2"

.DEFAULT_GOAL = help
.PHONY: help setup demo test test-slow test-one-row test-postgres test-browser hostproject matrix chaos check format lint types contracts migrations bench bench-pages prove docs messages site snapshot screenshots clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv and install what is needed (PYTHON=python3.12 chooses the interpreter)
	@PYTHON="$(PYTHON)" scripts/setup
	@echo "Ready: $$($(BIN)/python --version) in .venv"

$(READY): requirements.txt scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup

demo: $(READY) ## run everything and one workflow to its end (ONCE=1: exit when it is complete)
	@$(BIN)/python manage.py queue_demo

test: $(READY) ## run the tests on SQLite and the embedded server, but for the slow ones
	$(RUN) $(QUICK)

test-slow: $(READY) ## run the slow tests, which `make test` leaves out
	$(RUN) $(SLOW)

test-one-row: $(READY) ## run the tests that are long and the same on every database, which `make test-postgres` leaves out
	$(RUN) $(ONE_ROW)

test-postgres: $(READY) ## run the tests, slow ones too, on PostgreSQL and on the redis-server of PATH
	PSQ_TEST_DATABASE=postgres PSQ_TEST_REDIS_SERVER="$${PSQ_TEST_REDIS_SERVER:-redis-server}" $(RUN) $(ON_POSTGRES)

test-browser: $(READY) ## run the tests of the pages in a browser (wants Chromium)
	@$(PLAYWRIGHT)
	$(RUN) pytest tests/browser

hostproject: $(READY) ## install the built wheel into a project of somebody else's, in a fresh environment, and drive it
	$(RUN) pytest -m wheel tests/hostproject

matrix: $(READY) ## run the tests on every Python, Django and server of noxfile.py (ROWS=py313-django61 TESTS=tests/api)
	$(RUN) nox $(addprefix -s ,$(ROWS)) $(if $(TESTS),-- $(TESTS))

chaos: $(READY) ## kill workers and servers under load for 3 minutes, then judge (SECONDS=600 SEED=1 WORKERS=5)
	$(RUN) tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(WORKERS),--workers $(WORKERS))

check: lint types contracts migrations test ## everything that must hold before a change is handed in

format: $(READY) ## put the code in the house style
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

lint: $(READY) ## say where the code leaves the house style
	$(RUN) ruff format --check .
	$(RUN) ruff check .

types: $(READY) ## check the types
	$(RUN) mypy

contracts: $(READY) ## check which room imports which
	$(BIN)/lint-imports

migrations: $(READY) ## check that models and migrations agree, and Django's own checks
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

prove: $(READY) ## prove what is too big or too slow for CI; the report goes to docs/proofs (ONLY=times)
	@$(PLAYWRIGHT)
	$(RUN) tests.prove $(if $(ONLY),--only $(ONLY))

bench: $(READY) ## measure beside rq, Celery and others, installed into var/ (AGAINST=REV ONLY=drain ROUNDS=3)
	$(RUN) benchmarks $(if $(AGAINST),--against $(AGAINST)) $(addprefix --only ,$(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-pages: $(READY) ## time lists and pages in front of a million tasks (TASKS=100000: fewer)
	$(RUN) benchmarks.pages $(if $(TASKS),--tasks $(TASKS))

docs: $(READY) ## write the pages that are made from code
	$(RUN) scripts.docs

messages: $(READY) ## write every text that can be translated to var/django.pot
	$(RUN) scripts.messages

site: $(READY) ## build the documentation's site into var/site/html (a warning is an error)
	$(RUN) scripts.site

snapshot: $(READY) ## write the snapshots of the API and of all public names that the tests compare with
	$(BIN)/python manage.py spectacular --urlconf plugspace_queue.urls \
		--custom-settings plugspace_queue.api.openapi.SETTINGS --format openapi-json \
		--validate --fail-on-warn --file tests/contracts/openapi.json
	@$(BIN)/python manage.py shell -v 0 --no-imports \
		-c "from tests.contracts.surface import as_text; print(as_text(), end='')" >tests/contracts/surface.json

screenshots: $(READY) ## render the admin's pages into var/screenshots (wants Chromium)
	@$(PLAYWRIGHT)
	$(RUN) pytest -q tests/browser -k fit
	@echo "Look at var/screenshots."

clean: ## stop the embedded server; remove .venv, var and all caches
	@if [ -x $(BIN)/python ]; then $(BIN)/python -c "from plugspace_queue import embedded_redis; embedded_redis.stop()"; fi
	rm -rf .venv var build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
