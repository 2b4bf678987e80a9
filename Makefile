# Two commands on a machine that has Node 20 or newer: `make demo` and `make test`.

# An environment that has CI or a proxy set is left as it is; nothing is installed outside this folder.
installed := node_modules/.package-lock.json
# Built by `npm ci`, and again where its sources changed; without a compiler it is left out.
native := engine/native/build/.checked
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
	npm run --silent typecheck

build: dist/.built

$(installed): package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

$(native): $(installed) $(wildcard engine/native/src/*) engine/native/binding.gyp
	node engine/native/install.mjs
	@mkdir -p $(@D)
	@touch $@

dist/.built: $(installed) $(native) $(sources) tsconfig.json tsconfig.build.json
	npm run --silent build
	@touch $@

clean:
	rm -rf dist coverage node_modules engine/native/build
