# The project's commands; the work is in scripts/. Without make, run scripts/demo and scripts/test.
#
# PG=17        PostgreSQL 16, 17 or 18 in place of 15: in a directory with the distribution that ships it (scripts/on); takes root.
# QUICK=1      builds in half the time, for slower code
# PG_CONFIG=…  another server than Debian's PostgreSQL 15      KINDS="core regress"  only those tests
# TEST="budgets::race attacks"  tests by their names (scripts/test and scripts/clients say which)
# SEED=… STATEMENTS=… ONLY=…  for the fuzzer: the seed (a number, or random), the number of statements, a single one
# TRACE=…      a file of LLM requests for the demo, the tests and the replay      REPLAY="--speed 60"  options of the replay

.DEFAULT_GOAL := help
.PHONY: help demo demo-stop check test psql bless reference fuzz fuzz-control miri bench replay lint advisories fmt build install package pg-upgrade clean
export PG MIRROR QUICK PG_CONFIG KINDS TEST TRACE CLOCK STATEMENTS SEED ONLY
ifeq ($(PG_CONFIG),)
unexport PG_CONFIG
endif

help:
	@echo 'make demo       a tour: installs what is missing, builds, starts a throwaway server, shows isolation and budgets at work'
	@echo 'make demo-stop  stop and remove the demo server'
	@echo 'make check      format, clippy, core tests, links: takes cargo, no server, a minute'
	@echo 'make test       every test; KINDS="core regress" or TEST=budgets::race for some of them'
	@echo 'make psql       psql on a throwaway server with the extension'
	@echo 'make bless      takes what the regression tests answer now as right, to be read as a diff'
	@echo 'make reference  writes the pages of functions, views, settings and errors (docs/reference)'
	@echo 'make fuzz       random statements against what their caller may see: STATEMENTS=100000 SEED=random'
	@echo 'make fuzz-control  the same without the hardening, in a debug build: it must find a leak'
	@echo 'make miri       the tests of the ledger in Miri: some minutes, and a nightly toolchain that it adds'
	@echo 'make bench      measures against hand-written SQL, side by side'
	@echo 'make replay     sends a trace of LLM requests through reserve() and settle(): TRACE=file.csv'
	@echo 'make install    installs into the server of PG_CONFIG=/path/to/pg_config'
	@echo 'make package    builds a .deb in target/deb'
	@echo 'make pg-upgrade upgrades PostgreSQL 15 with data to PG=17 with pg_upgrade, and compares'
	@echo 'make advisories asks the network what is known to be wrong with the crates it uses'
	@echo 'make lint fmt build clean'

demo:
	@scripts/demo
demo-stop:
	@scripts/cluster stop demo
	@echo 'The demo server is stopped and removed.'
check:
	@scripts/check
test:
	@scripts/test
psql:
	@scripts/psql
bless:
	@scripts/bless
reference:
	@scripts/reference
fuzz:
	@scripts/fuzz
fuzz-control:
	@scripts/fuzz control
miri:
	@scripts/miri
bench:
	@scripts/bench
replay:
	@scripts/replay $(REPLAY)
lint:
	@KINDS=lint scripts/test
advisories:
	@scripts/lint advisories
fmt:
	@cargo fmt --all
build:
	@scripts/deps
	@scripts/build
install:
	@scripts/deps
	@scripts/build install
	@echo "Now set  shared_preload_libraries = 'tenancy'  in postgresql.conf, restart the server, and run in each"
	@echo 'database that uses it:  CREATE EXTENSION tenancy;'
package:
	@scripts/deps
	@scripts/build package
pg-upgrade:
	@scripts/pg-upgrade
clean:
	rm -rf target
