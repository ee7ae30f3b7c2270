# Everything that a newcomer types, and everything that CI runs. `make` alone lists the targets.
# Needed beforehand: Rust with cargo, Node with npm, apt. Each target fetches the rest itself, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Recipes share cargo's lock and two of them share apt's: side by side they would only wait for each other.
.NOTPARALLEL:

# Builds lie outside the checkout: a second clone, or a CI run in a fresh one, finds all dependencies compiled (minutes).
# Cargo tells packages of one name in two checkouts apart by their files' times only, so `mine` below throws away what
# another checkout built of ours. Two checkouts that test at the same moment must not share it: give one of them a
# CARGO_TARGET_DIR of its own.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/shardlake
export CARGO_TARGET_DIR ?= $(CACHE)/target

# The version of Debian's package `prometheus` that the checks are written against. `make test PROMETHEUS=2.53` takes
# another one, and a promtool that is already installed is taken as it is.
PROMETHEUS := 2.42
CARGO_DENY := 0.20.2
CARGO_MACHETE := 0.9.2

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: engine build ## Runs the whole line on this machine: make demo DEMO="--for 20s"
	@exec "$(CARGO_TARGET_DIR)/debug/shardlake" demo $(DEMO)

# The workspace is built before it is tested: tests start the programs `shardlake` and `shardlake-engine`.
# `--no-fail-fast`: one run names everything that fails. Most of a test is waiting for processes, so two halves of them run
# side by side, and what the first has to say follows the second.
FIRST_HALF := $(CARGO_TARGET_DIR)/first-half.log
.PHONY: test
test: engine prometheus systemd schemathesis lint ## Runs everything that CI runs
	cargo build --workspace
	cargo test --workspace --no-run
	@status=0; \
	cargo test --workspace --no-fail-fast --test '[a-l]*' >"$(FIRST_HALF)" 2>&1 & first=$$!; \
	cargo test --workspace --no-fail-fast --lib --bins --test '[!a-l]*' || status=$$?; \
	wait $$first || status=$$?; \
	cat "$(FIRST_HALF)"; \
	cargo test --workspace --doc || status=$$?; \
	exit $$status
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# What its tests measured becomes a table, also if one of them fails. Shorter: make torture KILLS=20 FAULTS=20 OUTAGE_S=60
# DAMAGES=5 FUZZ=100000 MODELS=100 SEEDS=100.
KILLS := 200
FAULTS := 2000
DAMAGES := 50
OUTAGE_S := 600
FUZZ := 10000000
MODELS := 10000
SEEDS := 10000
MEASURED := $(CARGO_TARGET_DIR)/torture.jsonl
TORTURE = env SHARDLAKE_RESULTS="$(MEASURED)" SHARDLAKE_KILLS=$(KILLS) SHARDLAKE_OUTAGE_S=$(OUTAGE_S) SHARDLAKE_FUZZ=$(FUZZ) \
	PROPTEST_CASES=$(MODELS) SHARDLAKE_SEEDS=$(SEEDS) cargo test --package shardlake-ingest --no-fail-fast
# Most of a fault is waiting, so four run side by side.
BESIDE := 1 2 3 4

# Simulated worlds first: they find most, and soonest. Then processes and a real ClickHouse; what measures stalls, and how
# soon a backlog is gone, has no company. Thousands of small parts are more renamed than written: where renames wait for each
# other, TMPDIR=/dev/shm helps.
.PHONY: torture
torture: engine build ## Breaks disks, processes and the network, long: about an hour; results in tests/results/
	cargo test --package shardlake-ingest --no-run
	@rm -f "$(MEASURED)" "$(MEASURED).failed"; \
	run() { "$$@" || touch "$(MEASURED).failed"; }; \
	run $(TORTURE) --release --lib simulation; \
	for part in $(BESIDE); do \
		SHARDLAKE_FAULTS=$$(($(FAULTS) / 4)) run $(TORTURE) --test wire & \
	done; \
	wait; \
	run $(TORTURE) --test hole --test crash --test large --test busy & \
	run $(TORTURE) --lib -- spool::fuzz spool::model & \
	for part in $(BESIDE); do \
		SHARDLAKE_DAMAGES=$$((($(DAMAGES) + 3) / 4)) run $(TORTURE) --test disk & \
	done; \
	wait; \
	run $(TORTURE) --test outage -- --nocapture; \
	node tests/results/torture.js "$(MEASURED)" && test ! -e "$(MEASURED).failed"

.PHONY: build
build: compiler ## Compiles the workspace
	cargo build --workspace

.PHONY: lint
lint: compiler ## Checks format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: fmt
fmt: ## Formats the code
	cargo fmt --all

.PHONY: bench
bench: engine compiler ## Measures the cost of each arrow: make bench BENCH="--bench observe"
	cargo build --profile bench --package shardlake-embedded --bins # benches start `shardlake-engine`
	cargo bench --package shardlake-line $(BENCH)

# The advisory database is a git repository of its own, out of reach of a machine that only has the package clients:
# `cargo deny check advisories` is for where it can be fetched.
.PHONY: audit
audit: ## Checks licences, sources and unused dependencies
	@.ci/need-cargo cargo-deny $(CARGO_DENY)
	@.ci/need-cargo cargo-machete $(CARGO_MACHETE)
	cargo deny --workspace check licenses bans sources
	cargo machete

.PHONY: clean
clean: ## Deletes what was built, for all checkouts; the engine stays
	cargo clean

# What the targets above need.

.PHONY: engine
engine: ## Fetches the ClickHouse engine into the cache
	@.ci/need npm npm
	@.ci/need openssl openssl
	@embedded/fetch-engine.sh >/dev/null

.PHONY: prometheus
prometheus: ## Installs promtool, which checks the metrics and the rules
	@.ci/need promtool prometheus $(PROMETHEUS)

.PHONY: schemathesis
schemathesis: ## Installs schemathesis, which asks the query service all sorts of things
	@.ci/need-schemathesis

.PHONY: systemd
systemd: ## Installs systemd-analyze, which checks the units
	@.ci/need systemd-analyze systemd

.PHONY: mine
mine:
	@built_by="$(CARGO_TARGET_DIR)/checkout"; \
	if [ "$$(cat "$$built_by" 2>/dev/null)" != "$(CURDIR)" ]; then \
		mkdir -p "$(CARGO_TARGET_DIR)"; \
		cargo clean --quiet --workspace; \
		echo "$(CURDIR)" >"$$built_by"; \
	fi

.PHONY: compiler
compiler: mine ## Installs the C compiler and linker that two dependencies want
	@.ci/need cc build-essential
