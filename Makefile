# Settings, on the command line or in the environment:
#   PYTHON=python3.12          interpreter for .venv, 3.11 to 3.13
#   TORCH_INDEX=URL            extra index for torch; https://download.pytorch.org/whl/cpu is the small CPU build on Linux
#   MPQ_WITHOUT="gl browser"   go on without these system parts and leave out their tests
#   NB=book/x.ipynb            the notebooks that `make notebooks` executes (default: all)
PYTHON ?= python3
TORCH_INDEX ?=
MPQ_WITHOUT ?=
NB ?=

SHELL := /bin/sh
PY    := .venv/bin/python
HOUSE := $(PY) book/_ext/house.py
STAMP := .venv/installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
MATHJAX := _build/vendor/static/mathjax/tex-chtml-full.js
PIP   := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# One run is one core: work is spread over processes, never over BLAS threads.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export MPQ_WITHOUT TORCH_INDEX
ifeq ($(shell uname),Linux)
export MUJOCO_GL ?= egl
endif

.DEFAULT_GOAL := help
.PHONY: help env book slides notebooks editions test test-full pdf wheel lab bench runs report retarget clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; sed -n '/^#/!q; s/^# \{0,1\}//p' $(MAKEFILE_LIST)

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "Python 3.11 to 3.13 is needed and $(PYTHON) is %d.%d; choose one: make book PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(STAMP): | $(PY)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) pip torch
	$(PIP) --build-constraint constraints.txt --editable '.[mujoco,book,test,dask]'
	$(PIP) --no-deps dm_control
	@rm -f .venv/installed-*; touch $@

env: $(STAMP) ## the environment in .venv

$(MATHJAX): book/_ext/vendor/package-lock.json | $(STAMP)
	@$(HOUSE) vendor

# jupyter-cache knows a notebook's code only: results of an older library or older data must go.
_build/executed-with: $(STAMP) $(shell find mpqlib data -type f ! -name '*.pyc' 2>/dev/null)
	@rm -rf _build/.jupyter_cache _build/.doctrees; mkdir -p _build; touch $@

book: $(STAMP) $(MATHJAX) _build/executed-with ## execute the notebooks and build the HTML in _build/html
	@$(HOUSE) system gl
	@[ _build/html/index.html -nt _toc.yml ] || rm -rf _build/html _build/.doctrees
	.venv/bin/jupyter-book build book --config _config.yml --toc "$(CURDIR)/_toc.yml" --path-output . -W -n --keep-going \
	  || { rm -rf _build/.doctrees; exit 1; }
	@echo; echo "Open $(CURDIR)/_build/html/index.html"

slides: $(STAMP) $(MATHJAX) ## the slides of the course in _build/slides
	$(PY) book/_ext/slides.py

notebooks: $(STAMP) ## execute the notebooks in place and normalise them
	$(HOUSE) notebooks $(NB)

editions: $(STAMP) ## notebooks for courses: student, teacher and plain, in _build/editions
	$(PY) book/_ext/editions.py

test: book ## everything CI checks
	@$(HOUSE) system gl browser
	$(PY) -m pytest tests -n 2 --dist loadfile
	$(PY) -m pytest --nbval book --nbval-sanitize-with tests/notebooks/sanitize.cfg --nbval-cell-timeout 300 \
	  -n 2 --dist loadfile

test-full: test ## also what takes long: soak, kill and resume, full grids
	$(PY) -m pytest tests -m full

pdf: book ## the whole book as one PDF, dist/mpq-book.pdf
	@$(HOUSE) system browser
	$(PY) book/_ext/pdf.py

wheel: $(STAMP) ## the wheel of mpqlib, with the stored results, in dist
	$(PY) -m build --wheel --no-isolation --outdir dist

lab: $(STAMP) ## open the notebooks in JupyterLab
	.venv/bin/jupyter lab book

bench: $(STAMP) ## ratios of speed and times of control steps, side by side
	$(PY) -m mpqlib bench
	$(PY) -m mpqlib control-steps

runs: $(STAMP) ## regenerate all stored runs and tables, on all cores (some 16 hours on two; goes on where it was stopped)
	$(PY) -m mpqlib sweep --task all --jobs=-1
	$(PY) -m mpqlib sweep --task all --study --jobs=-1
	$(PY) -m mpqlib sweep --task franka_drawer_open --study --seeds 2 --agents mpq-h10-real-truth1.25 mpq-h10-dr-truth1.25 --jobs=-1
	for task in pendulum_swingup ball_in_cup_sparse fetch_push_block franka_drawer_open; do \
	  $(PY) -m mpqlib grid --task $$task --jobs=-1 || exit 1; done
	$(PY) -m mpqlib report

report: $(STAMP) ## data/report/results.csv from the stored runs
	$(PY) -m mpqlib report

retarget: $(STAMP) ## another repository, or another release for Colab: make retarget URL=https://... TAG=v0.1.0
	@$(HOUSE) retarget "$(URL)" "$(TAG)"

clean: ## delete what was built (not .venv)
	rm -rf _build dist
