# Everything starts here: `make chat` and `make test` install what they need on first use.
PYTHON ?= python3
VENV := .venv/bin
TWO := --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: help chat test test-long lint loop bench-start bench-train bench-whole bench-rl bench-memory bench-beside bench-two bench-serve bench-gateway bench-gemm numbers from-scratch soak clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

chat: ## open the chat page and the API on http://127.0.0.1:7860 (flags: make chat ARGS="--port 8000")
	@$(PYTHON) requirements/install.py
	@exec $(VENV)/python app.py $(ARGS)

test: ## lint, check types, run all tests but the long ones
	@$(PYTHON) requirements/install.py --with-tests
	@$(MAKE) --no-print-directory lint
ifdef ARGS
	$(VENV)/python -m pytest $(ARGS)
else
	$(VENV)/python -m pytest -m "not e2e and not long" $(TWO)
	$(VENV)/python -m pytest -m "e2e and not long"
endif

test-long: ## run the tests of corners that take long to look into
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m pytest -m "long and not e2e" $(TWO)
	$(VENV)/python -m pytest -m "long and e2e"

lint: ## check style and types only
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy

loop: ## prove that votes make a better served version (hours; goes on where it was stopped)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.loop $(ARGS)

numbers: ## compare ways to learn (hours; goes on where it was stopped)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.numbers $(ARGS)

bench-start: ## measure how long a user waits for the page and for answers (see docs/serving.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.start

bench-train: ## measure training speed beside TRL's own trainer (see docs/training.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.train $(ARGS)

bench-whole: ## measure a whole training of 200 pairs beside TRL's own trainer (see docs/training.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.whole

bench-rl: ## measure learning from rewards beside TRL's own trainers (see docs/training.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.rl $(ARGS)

bench-memory: ## compare the memory a training is said to take with what it takes
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.memory

bench-beside: ## measure the wait for a first token while a round trains (see docs/training.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.beside

bench-two: ## measure what two engines get done beside each other (see docs/serving.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.two

bench-serve: ## measure the whole server beside stock vLLM (see docs/serving.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.serve $(ARGS)

bench-gateway: ## measure what the gateway costs beside its engine alone (see docs/serving.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.gateway $(ARGS)

bench-gemm: ## measure the matrix products of one step, vLLM's and ours (see docs/serving.md)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.bench.gemm

from-scratch: ## make a base of one's own an assistant, step by step, with pictures (under an hour)
	@$(PYTHON) requirements/install.py
	$(VENV)/align story $(ARGS)

soak: ## kill it fifty times, crowd it, and use it for half an hour (an hour; goes on where it was)
	@$(PYTHON) requirements/install.py --with-tests
	$(VENV)/python -m tests.soak $(ARGS)

clean: ## remove the environment and caches; what people said (./data) stays
	rm -rf .venv .installing .mypy_cache .pytest_cache .ruff_cache .hypothesis test-results build *.egg-info
