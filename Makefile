# The project's commands. `make lab` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help lab demo doctor lessons docs docs-version sites gallery tour loops test test-all browser coverage binder reliability stranger dist release wheel-test check bench bench-gpu gpu-pack notebooks mutants reproduce reproduce-full models peers chromium sync clean

# Any Python ≥ 3.11; it is used once, to make the environment.
PYTHON ?= python3
# The environment's folder; another one beside it holds other versions.
VENV ?= .venv
# Which torch build to ask for: auto takes CUDA where an NVIDIA driver answers.
DEVICE ?= auto
# A package index of your own for torch (a mirror, or one that serves a certain build).
TORCH_INDEX ?=
# A local checkpoint of a language model for `make tour`.
FOLDER ?=
# 1: `make docs` refuses to publish a lesson without outputs.
EXECUTED ?=
# Versions to hold on Python 3.11; constraints-lowest.txt: the lowest that are allowed.
PINS ?= constraints.txt
# Extra flags for every pytest call, e.g. PYTEST_FLAGS="--assets DIR -k steering"
PYTEST_FLAGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Test processes side by side, one more than a small machine's cores: browsers and killed processes are waited
# for. Each computes with one thread, or they would wait for each other's. A file is one process's, so that what
# it opens is opened once; tests of few long files are shared out singly.
JOBS ?= 3
SIDE_BY_SIDE := -n $(JOBS) --dist loadfile --no-loadscope-reorder
SINGLY := -n $(JOBS) --dist worksteal
# Bytecode is kept when a module is first imported, whatever the shell says; pip does not compile ahead: of the
# 20 000 modules of the packages a sixth is ever imported, and to compile them all takes two minutes.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/pytest -q -ra --durations=15 --disable-warnings $(PYTEST_FLAGS)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml studies/pyproject.toml notebooks/pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"sae_nb needs Python 3.11 or newer, got {v.major}.{v.minor}. Pass PYTHON=python3.11.")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	pins=()
	if [ "$$($(BIN)/python -c 'import sys, platform; print((3, 11, 5) <= sys.version_info < (3, 12) and platform.system() == "Linux")')" = True ]; then
		pins=(-c $(PINS))
	else
		echo "$(PINS) is written for Python 3.11.5 and later 3.11 on Linux; here the ranges of pyproject.toml count."
	fi
	device=$(DEVICE)
	case $$device in
		auto) if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then device=cuda; else device=cpu; fi ;;
		cpu|cuda) ;;
		*) echo "DEVICE must be auto, cpu or cuda, got '$$device'." >&2; exit 2 ;;
	esac
	index=(); if [ -n "$(TORCH_INDEX)" ]; then index=(--index-url "$(TORCH_INDEX)"); fi
	# torch first and pinned: any later resolver step then keeps it.
	torch=torch; if [ $${#pins[@]} -gt 0 ]; then torch=$$(grep '^torch==' $(PINS)); fi
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check "$${index[@]}" "$${pins[@]}" "$$torch"
	build=$$($(BIN)/python -W ignore -c 'import torch; print(torch.version.cuda or "cpu")')
	echo "DEVICE=$(DEVICE): $$device wanted, the index brought torch $$($(BIN)/python -W ignore -c 'import torch; print(torch.__version__)') built for $$build"
	extra=""
	if [ $$device = cuda ]; then
		if [ "$$build" = cpu ]; then echo "DEVICE=cuda needs a CUDA build of torch, but this index serves a CPU build. Set TORCH_INDEX to one that serves CUDA builds, or use DEVICE=cpu." >&2; exit 2; fi
		extra="cuda$${build%%.*}"
	fi
	packages='.[dev]'; if [ -n "$$extra" ]; then packages=".[dev,$$extra]"; fi
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check "$${pins[@]}" -e "$$packages" -e studies -e notebooks
	touch $(STAMP)

lab: $(STAMP) ## set up once, then open JupyterLab on the tour
	root=$$(if [ "$$(id -u)" = 0 ]; then echo --allow-root; fi)
	$(BIN)/jupyter lab $$root notebooks/00_tour.ipynb

demo: $(STAMP) ## open the demo: pretrained SAEs, runs by itself
	root=$$(if [ "$$(id -u)" = 0 ]; then echo --allow-root; fi)
	# The folder names the demo as a notebook that runs when it is opened, and holds the extension for it.
	export JUPYTER_PATH="$(CURDIR)/binder/jupyter" JUPYTER_CONFIG_PATH="$(CURDIR)/binder/jupyter"
	$(BIN)/jupyter lab $$root notebooks/demo.ipynb --ServerApp.jpserver_extensions="{'sae_nb_lessons.warm_kernel': True}"

doctor: $(STAMP) ## what this machine can do, and how to fix the rest
	@$(BIN)/sae-nb doctor

lessons: $(STAMP) ## execute, for the documentation, the lessons that `make notebooks` has not executed or that changed
	@$(BIN)/python notebooks/execute.py --jobs $(JOBS)

docs: $(STAMP) ## the documentation, in build/site; a warning is an error; EXECUTED=1: so is a lesson that was not executed
	@export SAE_NB_DOCS_EXECUTED=$(EXECUTED)
	OMP_NUM_THREADS=2 $(BIN)/python docs/make_gallery.py --pages
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/tools/links.py build/site
	echo "Open build/site/index.html."

docs-version: $(STAMP) ## keep this documentation as VERSION=0.3.0 in the branch gh-pages; ALIAS=latest, PUSH=1
	@test -n "$(VERSION)" || { echo "Name the version: make docs-version VERSION=0.3.0 ALIAS=latest" >&2; exit 2; }
	OMP_NUM_THREADS=2 $(BIN)/python docs/make_gallery.py --pages
	export PATH="$(CURDIR)/$(BIN):$$PATH"  # mike calls mkdocs by its name
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 SAE_NB_DOCS_VERSIONS=1 $(BIN)/mike deploy $(if $(PUSH),--push) $(if $(ALIAS),--update-aliases) "$(VERSION)" $(ALIAS)
	$(if $(ALIAS),$(BIN)/mike set-default $(if $(PUSH),--push) "$(ALIAS)")

sites: $(STAMP) ## write docs/atoms: the bundled SAEs as sites that answer live; `make docs` takes them with it
	@OMP_NUM_THREADS=2 $(BIN)/python docs/tools/sites.py

gallery: $(STAMP) chromium ## write docs/gallery, every panel as a page without a kernel, and take its picture; `make docs` writes the pages alone
	@OMP_NUM_THREADS=2 $(BIN)/python docs/make_gallery.py

tour: $(STAMP) ## run the tour without a screen and write tour.html
	@$(BIN)/python notebooks/run_tour.py $(if $(FOLDER),--folder "$(FOLDER)")

chromium: ## get a system Chromium where the machine can
	@for name in "$${SAE_NB_CHROMIUM:-}" chromium chromium-browser google-chrome; do
		if [ -n "$$name" ] && command -v "$$name" >/dev/null; then exit 0; fi
	done
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then
		echo "Installing Chromium for the browser tests."
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null) || echo "Chromium could not be installed; browser tests will say why they skip."
	else
		echo "No Chromium here and no way to install one; browser tests will say why they skip."
	fi

loops: $(STAMP)
	@$(BIN)/python tests/compiled_loops.py

# What `make test` and `make test-all` run: everything, or the folders that are named.
TESTS ?= tests

RESULTS := build/test$(patsubst build/%,-%,$(filter-out .venv,$(VENV))).xml
NOT_HERE := --ignore=tests/notebooks/test_run.py --ignore=tests/lessons/reproductions

test: $(STAMP) chromium loops ## the quick tests, the tour and some panels in a browser: what an installation and a change need
	@mkdir -p build
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow" --junitxml=$(RESULTS) $(TESTS) $(NOT_HERE)

test-all: $(STAMP) chromium loops ## those and the slow ones: kills, Binder, gallery, real models, every panel, long use
	@mkdir -p build
	$(PYTEST) $(SIDE_BY_SIDE) --junitxml=build/test-all.xml $(TESTS) $(NOT_HERE)

browser: $(STAMP) chromium loops ## of the tests, those in a real JupyterLab in Chromium
	@mkdir -p build
	$(PYTEST) $(SIDE_BY_SIDE) --junitxml=build/browser.xml -m browser tests $(NOT_HERE)

dist: $(STAMP) ## sdist and wheel in dist/, checked as the package index would
	@rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	for part in studies notebooks; do (cd $$part && "$(CURDIR)/$(BIN)/python" -m hatchling build -t wheel -d ../dist); done
	$(BIN)/twine check --strict dist/*

release: $(STAMP) ## a dry run of a release: TAG=v0.4.0 with the files built for it; what stops it is printed, nothing is uploaded
	@test -n "$(TAG)" || { echo "Name the tag: make release TAG=v0.4.0" >&2; exit 2; }
	$(MAKE) --no-print-directory dist
	$(BIN)/python -m tests.packaging.release "$(TAG)"

wheel-test: $(STAMP) ## install the wheel alone into a new environment and try it there; PYTHON=python3.13, LOWEST=1, PINNED=1
	@$(BIN)/python tests/packaging/from_the_wheel.py --python "$(PYTHON)" $(if $(LOWEST),--lowest) $(if $(PINNED),--pinned)

# Of one package: its own tests and its own files.
coverage: $(STAMP) loops ## which share of each package the quick tests run, without a browser; PACKAGE=codes: of one by its own; the README's badge
	@mkdir -p build/coverage && rm -f build/coverage/*
	export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
	$(BIN)/coverage run --rcfile=tests/coverage.toml -m pytest -q --disable-warnings $(PYTEST_FLAGS) $(if $(PACKAGE),,$(SIDE_BY_SIDE)) -m "not slow and not browser" tests$(addprefix /,$(PACKAGE)) $(if $(PACKAGE),,$(NOT_HERE))
	$(BIN)/coverage combine --rcfile=tests/coverage.toml -q
	$(BIN)/coverage json --rcfile=tests/coverage.toml -q -o build/coverage/coverage.json $(if $(PACKAGE),--include="*/sae_nb/$(PACKAGE)/*")
	$(BIN)/python -m tests.covered

binder: $(STAMP) chromium ## of the tests, those of the demo as Binder serves it
	@mkdir -p build
	$(PYTEST) --junitxml=build/binder.xml tests/binder

reliability: $(STAMP) chromium loops ## of the tests, those of kills, damages, full disks, long use, endings, notebooks run all in one go, many times each; every class of transformers
	@mkdir -p build
	SAE_NB_ENDINGS=10 SAE_NB_INTERRUPTS=10 SAE_NB_WRONG_CALLS=80000 SAE_NB_RUN_ALLS=20 SAE_NB_SWEEP=all $(PYTEST) $(SINGLY) --junitxml=build/reliability.xml tests/reliability tests/bad_input tests/families tests/browser/test_run_all.py

# What a checkout that is read alone cannot have: git's history, files of its own, rights of root, a home.
stranger: $(STAMP) ## the quick tests without a browser, of the last commit, where nothing can be written, in an order drawn by SEED=1
	@place=$$(mktemp -d); trap 'chmod -R u+w "$$place"; rm -r "$$place"' EXIT
	mkdir -p build "$$place/home"
	git archive HEAD | tar -x -C "$$place"
	chmod -R a-w "$$place"
	alone=(); if [ "$$(id -u)" = 0 ]; then alone=(unshare --user --map-user=1000 --map-group=1000); fi
	bin="$(CURDIR)/$(BIN)"; cd "$$place"
	export HOME="$$place/home" PYTHONPATH="$$place:$$place/widgets:$$place/studies:$$place/notebooks" OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
	"$${alone[@]}" "$$bin/python" -m pytest -q -ra --disable-warnings -p no:cacheprovider $(SIDE_BY_SIDE) --shuffled $(or $(SEED),1) -m "not slow and not browser" tests $(NOT_HERE)

check: $(STAMP) ## format, lint, types, import contracts, and how much a reader of a call must hold
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/reach.py

notebooks: $(STAMP) loops ## execute every notebook in a kernel of its own; what they show is kept for `make docs`
	@mkdir -p build
	# One thread each: kernels with two threads wait for each other's as soon as anything else runs.
	$(PYTEST) $(SINGLY) --junitxml=build/notebooks.xml tests/notebooks/test_run.py

mutants: $(STAMP) loops ## before a release: which of N=400 changed operators and numbers, drawn by SEED=1, no quick test notices; PACKAGE=codes: of one; AT=FILE:LINE: all of a line
	@$(BIN)/python tests/mutants.py --seed $(or $(SEED),1) --n $(or $(N),400) --jobs $(JOBS) $(addprefix --package ,$(PACKAGE)) $(if $(AT),--at $(AT))

reproduce: $(STAMP) ## one short seed of every reproduction; checks of the committed artefacts (not in CI: before a claim changes)
	@mkdir -p build
	$(PYTEST) $(SINGLY) --junitxml=build/reproduce.xml tests/lessons/reproductions

reproduce-full: $(STAMP) ## every reproduction again into build/claims, 50 kills, 10 000 damages, 690 endings (hours); NAME=dark_matter: one of them (100 minutes at most; language_temporal 3.5 hours); a killed run goes on
	@mkdir -p build
	$(if $(NAME),,SAE_NB_KILLS=50 SAE_NB_FUZZ_CASES=10000 SAE_NB_ENDINGS=10 $(PYTEST) $(SINGLY) --junitxml=build/reliability.xml tests/reliability)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m sae_nb_studies.reproductions $(or $(NAME),--all) --out build/claims

bench: $(STAMP) ## the benchmarks that need no browser and no GPU, about an hour; NAME=pursuit: one of them; tables go to benchmarks/results
	@if [ -n "$(NAME)" ]; then $(BIN)/python benchmarks/record.py $(NAME); exit; fi
	for run in small one_step "one_step --family" pursuit capture "capture --monitor tiny-gpt smollm2-135m" scale "stores disk" "stores workers" "maps layout" "maps columns"; do
		echo "== $$run"
		$(BIN)/python benchmarks/record.py $$run
	done

bench-gpu: $(STAMP) ## trainings, pursuits and a live model on an NVIDIA GPU, in five minutes
	@$(BIN)/python benchmarks/gpu.py

gpu-pack: $(STAMP) ## build/gpu: what a machine with a GPU and no network needs to measure everything by `bash run.sh`
	@$(BIN)/python benchmarks/gpu_pack.py

models: $(STAMP) ## train the bundled models again (hours on a laptop)
	@for variant in tiny-vit tiny-vit-tied tiny-vit-plain; do
		$(BIN)/python -m sae_nb_studies.recipes.tiny_vit --variant $$variant --out build/models/$$variant
	done
	$(BIN)/python -m sae_nb_studies.recipes.tiny_gpt --out build/models/tiny-gpt
	$(BIN)/python -m sae_nb_studies.recipes.tiny_audio --out build/models/tiny-audio
	$(BIN)/python -m sae_nb_studies.recipes.tiny_looped --out build/models/tiny-looped
	$(BIN)/python -m sae_nb_studies.recipes.two_towers --out build/models/two-towers
	$(BIN)/python -m sae_nb_studies.recipes.known_circuits --out build/models
	# The cards of the bundled ones, on all pictures they name.
	SAE_NB_CARD_PICTURES=4000 $(PYTEST) tests/models/recipes/test_bundled_vits.py -k card_can
	$(BIN)/python tests/models/trigram.py --write build/models/tiny-gpt/tiny-gpt

peers: $(STAMP) ## other libraries read what we wrote, each in an environment of its own (needs the index)
	@$(BIN)/python docs/make_interop.py

sync: $(STAMP) ## refresh links and minutes of notebooks, their .ipynb, what pages quote; write solved copies into notebooks/solutions
	@$(BIN)/python notebooks/badges.py
	$(BIN)/python docs/tools/paths.py
	$(BIN)/jupytext --sync notebooks/[0-9]*.py notebooks/lab_*.py notebooks/appendix_*.py notebooks/demo.py
	$(BIN)/python notebooks/solve.py
	$(BIN)/python docs/tools/macros.py

clean: ## remove what was built (not .venv)
	rm -rf build dist tour.html notebooks/solutions
