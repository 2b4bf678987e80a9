import { cpus } from 'node:os';
import { createReport, writtenCompressions } from '../ingest/format.js';
import { formatByName, formats } from '../ingest/formats/index.js';
import { syntheticBatches } from './syntheticEvents.js';

// Decode and encode rates of every codec, in memory: `npm run bench:ingest -- [EVENTS] [FORMAT …]`,
// FORMAT also with a compression or a variant: aedat4:lz4, aedat4:zstd, es:atis, hdf5:ecf.
// Memory is used again from chunk to chunk, as `saccade convert` does. Each number is the best of several runs; the recording is synthetic, seeded, and the same for all codecs.

const chunkLength = 256 * 1024;
const repeats = Number(process.env.REPEATS ?? 3);

async function* streamOf<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** Bytes cut as they come from a file. */
function* cut(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += chunkLength) {
    yield bytes.subarray(start, start + chunkLength);
  }
}

/** Seconds of this process on the CPU, which, unlike those of the clock, do not count other processes. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Seconds of some work: the fewest by the clock, and on the CPU, and those of its steps at their fastest. */
type Seconds = readonly [clock: number, cpu: number, steps: number];

/**
 * Repeats the work. Other processes disturb some of its steps in each run, but hardly the same one in all.
 *
 * @param work calls `step` after each batch or chunk, of which there are as many in each run.
 */
async function best(work: (step: () => void) => Promise<void>): Promise<Seconds> {
  let clock = Infinity;
  let cpu = Infinity;
  const fewest: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    const cpuStart = cpuSeconds();
    let last = start;
    let steps = 0;
    const step = (): void => {
      const now = performance.now();
      fewest[steps] = Math.min(fewest[steps] ?? Infinity, now - last);
      steps++;
      last = now;
    };
    await work(step);
    step();
    cpu = Math.min(cpu, cpuSeconds() - cpuStart);
    clock = Math.min(clock, (performance.now() - start) / 1000);
  }
  return [clock, cpu, fewest.reduce((sum, milliseconds) => sum + milliseconds, 0) / 1000];
}

async function measure(name: string, events: number): Promise<string> {
  const [formatName, layout] = name.split(':');
  const compression = writtenCompressions.find((known) => known === layout);
  const variant = compression === undefined ? layout : undefined;
  const format = formatByName(formatName);
  const sensor = {
    width: Math.min(640, format.limits.width),
    height: Math.min(480, format.limits.height),
  };
  const batches = syntheticBatches(sensor, events);
  const file = 'bench';
  const layouts = { compression, variant };
  const chunks: Uint8Array[] = [];
  for await (const chunk of format.encode(streamOf(batches), { file, sensor, ...layouts })) {
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks.splice(0));
  const encodeSeconds = await best(async (step) => {
    let length = 0;
    const options = { file, sensor, ...layouts, reuse: true };
    for await (const chunk of format.encode(streamOf(batches), options)) {
      length += chunk.length;
      step();
    }
    if (length !== bytes.length) throw new Error(`${name}: ${length} of ${bytes.length} bytes`);
  });
  const decodeSeconds = await best(async (step) => {
    let decoded = 0;
    const options = { file, sensor, report: createReport(), reuse: true };
    for await (const batch of format.decode(streamOf(cut(bytes)), options)) {
      decoded += batch.length;
      step();
    }
    if (decoded !== events) throw new Error(`${format.name}: ${decoded} of ${events} events`);
  });
  const rates = (both: readonly number[]): string =>
    both.map((seconds) => (events / seconds / 1e6).toFixed(0).padStart(5)).join(' | ');
  const perEvent = (bytes.length / events).toFixed(2).padStart(6);
  return `| ${name.padEnd(12)} | ${rates(decodeSeconds)} | ${rates(encodeSeconds)} | ${perEvent} |`;
}

const [count, ...names] = process.argv.slice(2);
const events = Number(count ?? 10_000_000);
const chosen = names.length > 0 ? names : formats.map(({ name }) => name);
console.log(`${events} events, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}`);
console.log('Mev/s by the clock, per second of CPU time, and with each batch at its fastest');
console.log('| format       | decode | (CPU) | (batch) | encode | (CPU) | (batch) | bytes/event |');
for (const name of chosen) console.log(await measure(name, events));
