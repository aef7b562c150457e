# The commands of the project, for people and for CI. Versions of tools are pinned where the tools are fetched: here those of
# cargo, in deploy/local those of Python and Java.

SHELL := bash
.SHELLFLAGS := -o pipefail -euc
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STACK := python3 deploy/local/stack.py
BIN := .local/venv/bin
ARGS ?=
# Of this much it is known which jobs were sent, so `hookline-simulator check` can tell whether the tables have them.
TRAFFIC := --past 4m --jobs 2000 --ledger .local/samples.jsonl
LINTS := fmt clippy doc deny machete typos ruff web
DENY := 0.20.2
MACHETE := 0.9.2
FUZZ := 0.13.2
WEB := analytics/web
# That of Vite 8; empty where npm is missing or Node is older.
NODE := $(shell command -v npm >/dev/null && node -p '/^v(20[.](19|[2-9][0-9])|22[.](1[2-9]|[2-9][0-9])|2[3-9]|[3-9][0-9])/.test(process.version) || ""' 2>/dev/null)
# Whatever the dashboard is built of.
WEB_SOURCES := $(wildcard $(WEB)/*.ts $(WEB)/*.json $(WEB)/index.html) $(shell find $(WEB)/src $(WEB)/public -type f)
BENCHES ?= ingest processor rollup
SECONDS_EACH ?= 20

.PHONY: help up web packages down status start stop restart logs simulate test bench soak soak-page fuzz docs lint lints $(LINTS:%=lint-%) advisories clean tools

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The binaries show it as their version's. Only these targets set it: a variable that comes and goes means to build them anew.
up simulate: export HOOKLINE_COMMIT = $(shell git describe --always --dirty --exclude '*' 2>/dev/null)

up: $(if $(NODE),web) ## Start the local stack; the first time with sample traffic and a report
	@$(STACK) up

web: $(WEB)/dist/index.html ## Build the dashboard, which the next `cargo build` embeds; needs Node 20.19 or later

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB_SOURCES)
	cd $(WEB) && npx vite build --logLevel warn

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@test -n '$(NODE)' || { echo 'npm is missing, or its Node too old: install Node 20.19 or later (of 22, 22.12)' >&2; exit 1; }
	cd $(WEB) && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --silent
	@touch $@

packages: ## Install, as root, what the tests of the dashboard need of Debian: Chromium and a font
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-inter

down: ## Stop what `make up` started; the data stays
	@$(STACK) down

# `stack.py status` ends with 3 where something is not ready; make would add an error of its own to what is a plain answer.
status: ## What runs and is ready, where, and how far behind
	@$(STACK) status $(ARGS) || [ $$? = 3 ]

restart: ## Restart what ARGS names, such as ARGS=ingest; `make stop` and `make start` do half of it
	@$(STACK) restart $(ARGS)

stop start:
	@$(STACK) $@ $(ARGS)

logs: ## The daemons' logs; ARGS='ingest -f' follows one
	@$(STACK) logs $(ARGS)

# Without --package, which would build dependencies anew, with the features of that member alone.
simulate: ## Send 2,000 jobs of the last minutes, within seconds; ARGS='--jobs 500 --speed 60' sends others, ARGS=--help tells all
	@test -f .local/env || { echo 'no stack yet: run `make up` first' >&2; exit 1; }
	@. .local/env && cargo run --quiet --release --locked --bin hookline-simulator -- $(or $(ARGS),$(TRAFFIC))

test: web ## Every test, on a real Kafka, a real ClickHouse and in a real browser; ARGS are those of `cargo test`
	cargo build --locked --workspace --bins --tests
	$(STACK) run -- cargo test --locked --workspace --no-fail-fast $(ARGS) 2>&1 | .ci/tally

docs: ## Write the parts of docs/ and the dashboards that code generates; the tests compare them
	HOOKLINE_UPDATE_DOCS=1 cargo test --quiet --locked --workspace --lib the_documentation_is_up_to_date
	python3 deploy/grafana/generate.py

lint: $(LINTS:%=lint-%) ## Everything that can be checked without running it

lints: # Their names, one `make lint-NAME` each
	@echo $(LINTS)

lint-fmt:
	cargo fmt --all --check

lint-clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings

lint-doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items

lint-deny:
	@cargo deny --version 2>/dev/null | grep -qx 'cargo-deny $(DENY)' || cargo install --locked cargo-deny@$(DENY)
	cargo deny --locked check bans licenses sources

lint-machete:
	@cargo machete --version 2>/dev/null | grep -qx '$(MACHETE)' || cargo install --locked cargo-machete@$(MACHETE)
	cargo machete

lint-typos: tools
	$(BIN)/typos

lint-ruff: tools
	$(BIN)/ruff check deploy
	$(BIN)/ruff format --check deploy

# Types that are not those of the API's document are found here, too.
lint-web: web
	cd $(WEB) && npx biome ci --error-on-warnings . && npx openapi-typescript ../../docs/openapi-analytics.json --output src/api/schema.d.ts --check
	cd $(WEB) && npx tsc && npx vitest run && node scripts/bundle_size.mjs

bench: $(if $(filter page,$(BENCHES)),web) ## Costs for each event beside the alternatives, into .local/bench.json; BENCHES='ingest queries' for some, ARGS are theirs
	cargo build --locked --release --workspace --bins
	for bench in $(BENCHES); do $(STACK) run --state .local/bench-servers -- cargo bench --locked --bench $$bench -- $(ARGS); done

soak-page: web ## A page of the dashboard open for an hour while jobs come in; ARGS='--soak 5' for five minutes
	cargo build --locked --workspace --bins
	$(STACK) run --state .local/soak -- cargo bench --locked --profile dev --bench page -- --jobs 200000 $(or $(ARGS),--soak 60)

soak: ## The crash matrix with 5,000 jobs for each fault, then 30 minutes of random faults; ARGS='--minutes 10 --rate 200 --seed 7'
	cargo build --locked --workspace --bins
	$(STACK) run --state .local/soak -- cargo bench --locked --profile dev --package hookline-simulator --bench soak -- $(or $(ARGS),--matrix)

fuzz: ## Search for bytes that break what reads them; SECONDS_EACH=60 for longer; needs a nightly toolchain
	@if ! rustup toolchain list 2>/dev/null | grep -q ^nightly; then \
	  echo 'fuzz: not run, there is no nightly toolchain (`rustup toolchain install nightly` brings one)'; exit 0; fi; \
	cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz@$(FUZZ); \
	for target in envelope verify record; do mkdir -p fuzz/found/$$target; \
	  cargo +nightly fuzz run --fuzz-dir fuzz $$target fuzz/found/$$target fuzz/corpus/$$target -- -max_total_time=$(SECONDS_EACH) -verbosity=0 || exit 1; \
	  echo "fuzz: $$target: nothing found in $(SECONDS_EACH) s"; done

advisories: ## Known vulnerabilities in dependencies; needs the network
	cargo deny --locked check advisories

clean: down ## Stop the stack, remove its data and everything built
	rm -rf .local
	cargo clean

tools:
	@$(STACK) tools
