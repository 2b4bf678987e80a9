# Two commands on a machine that has Node 20 or newer: `make demo` and `make test`.

# An environment that has CI or a proxy set is left as it is; nothing is installed outside this folder.
installed := node_modules/.package-lock.json
sources := $(shell find src workers models preprocess ingest engine -name '*.ts' 2>/dev/null)

.PHONY: demo test check build clean

# DATA=folder: real recordings, one sub-folder per class. OUT=folder: where the run goes.
demo: dist/.built
	node dist/src/cli.js demo $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)")

test: dist/.built check
	npx vitest run

check: $(installed)
	npx eslint .
	npx prettier --check .
	npx tsc -p tsconfig.json

build: dist/.built

$(installed): package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

dist/.built: $(installed) $(sources) tsconfig.json tsconfig.build.json
	npm run --silent build
	@touch $@

clean:
	rm -rf dist coverage node_modules
