// Runs TensorFlow.js's own test suite (it ships with @tensorflow/tfjs-core) on `cpu` and on `native`, and
// fails if a test passes on `cpu` and fails on `native`.
//
//   npm run test:tfjs            cpu and native, and what differs
//   npm run test:tfjs -- native  one backend, and what fails
//   npm run test:tfjs -- --gpu   the bundle that is there, on cpu and on cuda (bench/gpu packs it)
import { spawnSync } from 'node:child_process';
import { log } from 'node:console';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));
const cache = join(here, '..', '..', '.cache', 'tfjs-suite');
const bundle = join(cache, 'suite.mjs');
const [mode, backend] = process.argv.slice(2);

if (mode === '--run') await run();
else if (mode === '--bundle') await bundleSuite();
else if (mode === '--gpu') await compare(['cpu', 'cuda']);
else {
  await bundleSuite();
  await compare(mode === undefined ? ['cpu', 'native'] : [mode]);
}

async function compare(backends) {
  const results = backends.map((name) => {
    const { status } = spawnSync(
      process.execPath,
      [fileURLToPath(import.meta.url), '--run', name],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
        env: { ...process.env, SUITE_BACKEND: name },
      },
    );
    if (status !== 0) throw new Error(`the suite ended with ${status} on ${name}`);
    const specs = JSON.parse(readFileSync(join(cache, `${name}.json`), 'utf8'));
    const count = (wanted) => specs.filter((spec) => spec.status === wanted).length;
    log(
      `${name}: ${count('passed')} passed, ${count('failed')} failed, ${count('pending')} pending`,
    );
    return specs;
  });
  const [reference, other] = results;
  if (other === undefined) {
    for (const { name, message } of reference.filter((spec) => spec.status === 'failed')) {
      log(`  ${name}\n    ${message}`);
    }
    return;
  }
  // Names repeat here and there: compare the n-th of a name with the n-th.
  const passed = new Map();
  for (const { name, status } of reference) passed.set(name, [...(passed.get(name) ?? []), status]);
  const worse = other.filter(({ name, status }) => {
    const before = (passed.get(name) ?? []).shift();
    return before === 'passed' && status !== 'passed';
  });
  for (const { name, message } of worse) log(`  ${name}\n    ${message}`);
  log(`${worse.length} pass on ${backends[0]} and fail on ${backends[1]}`);
  process.exitCode = worse.length === 0 ? 0 : 1;
}

async function bundleSuite() {
  // Here, since hosts that only run the bundle have no bundler.
  const { build } = await import('esbuild');
  mkdirSync(cache, { recursive: true });
  const core = dirname(require.resolve('@tensorflow/tfjs-core/package.json'));
  const entry = join(cache, 'entry.ts');
  writeFileSync(
    entry,
    `import ${JSON.stringify(join(here, 'tfjsSuite.ts'))};\n` +
      `import ${JSON.stringify(join(core, 'dist', 'tests.js'))};\n`,
  );
  await build({
    entryPoints: [entry],
    outfile: bundle,
    bundle: true,
    format: 'esm',
    platform: 'node',
    mainFields: ['module', 'main'],
    external: ['jasmine-core', 'node-fetch', 'koffi'],
    // The tests are imported for their effects, which the package doesn't declare.
    ignoreAnnotations: true,
    // One instance of everything: sources, not the bundles that Node would take.
    alias: {
      '@tensorflow/tfjs-core': join(core, 'dist', 'index.js'),
      '@tensorflow/tfjs-core/dist': join(core, 'dist'),
    },
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
    logLevel: 'error',
  });
}

async function run() {
  const { default: jasmineCore } = await import('jasmine-core');
  const jasmine = jasmineCore.boot();
  const env = jasmine.getEnv();
  env.configure({ random: false });
  const specs = [];
  env.addReporter({
    specDone({ fullName, status, failedExpectations }) {
      const message = failedExpectations[0]?.message.slice(0, 300);
      specs.push({ name: fullName, status, message });
    },
  });
  await import(bundle);
  await env.execute();
  writeFileSync(join(cache, `${backend}.json`), JSON.stringify(specs));
  process.exit(0);
}
