// Everything that is to be known of a GPU host, in one JSON document: conformance (references, gradients, training,
// graphs), TensorFlow.js's own suite, timings, several GPUs, streams through the service. Runs in the folder that `bundle.mjs` makes.
//
//   node run.mjs OUT.json [conformance tensorflow timings gpus …]
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
// In a bundle, and in a clone. A folder alone has none.
const root = [join(here, '..'), join(here, '..', '..')].find((path) => existsSync(join(path, 'dist', 'src', 'cli.js'))); // prettier-ignore

/** Each part: what is run, how long at most, and what its output says. */
const parts = {
  conformance: {
    command: ['check.mjs', 'cuda'],
    seconds: 600,
    result: (text) => Object.assign({}, ...documents(text)),
    isGood: (report) =>
      Object.values(report).every(({ bad = [], error }) => bad.length === 0 && error === undefined),
  },
  tensorflow: {
    command: ['test/conformance/tfjs.mjs', '--gpu'],
    seconds: 1200,
    result: suiteCounts,
    // It ends with 1 where `cuda` fails what `cpu` passes: a device cannot throw for an index out of range.
    codes: [0, 1],
    isGood: ({ counts, worse, failures }) => counts.cuda?.passed > 4000 && worse === failures.length && failures.every((name) => /gather suite .* throws when index is out of bound$/.test(name)), // prettier-ignore
  },
  timings: {
    command: ['bench.mjs'],
    seconds: 300,
    result: documents,
    isGood: (figures) => figures.length > 0,
  },
  gpus: {
    command: ['nccl.mjs'],
    seconds: 120,
    result: (text) => documents(text).at(-1),
    isGood: (report) => [report.one, report.all].every((group) => group?.codes.every((code) => code === 0) ?? true), // prettier-ignore
  },
  serving: {
    missing: root === undefined ? 'no build of the project lies beside this folder' : undefined,
    command: ['serve.mjs', '--cli', `${root}/dist/src/cli.js`, '--config', `${root}/configs/demo.yaml`, '--minutes', '0.5'], // prettier-ignore
    seconds: 120,
    result: (text) => text.trim().split('\n'),
    isGood: (lines) => lines.some((line) => line.endsWith('backend cuda')) && lines.some((line) => /, 0 not taken, 0 lost;/.test(line)), // prettier-ignore
  },
};

/** The JSON documents of a text, one after the other. */
function documents(text) {
  const found = [];
  let from = 0;
  let depth = 0;
  let isText = false;
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (isText) {
      if (letter === '\\') i++;
      else if (letter === '"') isText = false;
    } else if (letter === '"') isText = depth > 0;
    else if (letter === '{' && depth++ === 0) from = i;
    else if (letter === '}' && --depth === 0) found.push(JSON.parse(text.slice(from, i + 1)));
  }
  return found;
}

/** Counts of TensorFlow.js's tests on each backend, and those that only the GPU fails. */
function suiteCounts(text) {
  const counts = {};
  for (const [, name, ...numbers] of text.matchAll(
    /^(\w+): (\d+) passed, (\d+) failed, (\d+) pending$/gm,
  )) {
    const [passed, failed, pending] = numbers.map(Number);
    counts[name] = { passed, failed, pending };
  }
  const worse = /^(\d+) pass on \w+ and fail on \w+$/m.exec(text)?.[1];
  const failures = text.split('\n').filter((line) => /^ {2}\S/.test(line));
  return { counts, worse: worse === undefined ? undefined : Number(worse), failures };
}

/** Runs a script of this folder. What it says on standard error is shown. */
async function run({ command, seconds }) {
  const startMs = Date.now();
  const child = spawn(process.execPath, command, {
    cwd: here,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 1000 * seconds,
    killSignal: 'SIGKILL',
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (...ends) => resolve(ends));
  });
  return { output, code, signal, seconds: (Date.now() - startMs) / 1000 };
}

const [out, ...wanted] = process.argv.slice(2);
const unknown = wanted.find((name) => parts[name] === undefined);
if (out === undefined || unknown !== undefined) {
  process.stderr.write(`usage: node run.mjs OUT.json [${Object.keys(parts).join(' ')}]\n`);
  process.exit(2);
}
const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const report = { saccade: version, node: process.versions.node, good: true, parts: {} };
for (const name of wanted.length > 0 ? wanted : Object.keys(parts)) {
  const part = parts[name];
  if (part.missing !== undefined) {
    report.parts[name] = { skipped: part.missing };
    process.stderr.write(`${name}: skipped, ${part.missing}\n`);
    continue;
  }
  process.stderr.write(`${name}: node ${part.command.join(' ')}\n`);
  const { output, code, signal, seconds } = await run(part);
  const entry = { seconds, code, signal: signal ?? undefined };
  try {
    entry.result = part.result(output);
    entry.good = (part.codes ?? [0]).includes(code) && part.isGood(entry.result);
  } catch (error) {
    Object.assign(entry, { good: false, error: String(error), output: output.slice(-4000) });
  }
  report.parts[name] = entry;
  report.good &&= entry.good;
  // What is known stays known, whatever comes.
  writeFileSync(`${out}.tmp`, `${JSON.stringify(report, undefined, 1)}\n`);
  renameSync(`${out}.tmp`, out);
  process.stderr.write(`${name}: ${entry.good ? 'good' : 'NOT good'}, ${seconds.toFixed(0)} s\n`);
}
process.exit(report.good ? 0 : 7);
