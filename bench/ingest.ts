import { cpus } from 'node:os';
import { createRandom } from '../engine/support/random.js';
import { createBatch, type EventBatch, type SensorSize } from '../ingest/eventBatch.js';
import { createReport, type EventFormat } from '../ingest/format.js';
import { formatByName, formats } from '../ingest/formats/index.js';

// Decode and encode rates of every codec, in memory: `npm run bench:ingest -- [EVENTS] [FORMAT …]`.
// Each number is the best of several runs; the recording is synthetic, seeded, and the same for all codecs.

const chunkLength = 256 * 1024;
const batchLength = 65_536;
const repeats = 3;

/** Short runs of pixels along rows that fire together, as moving edges give them; about 5 events per µs. */
function syntheticBatches(sensor: SensorSize, events: number): EventBatch[] {
  const random = createRandom(1, 'bench');
  const batches: EventBatch[] = [];
  let timeUs = 0;
  let run = 0;
  let column = 0;
  let row = 0;
  let on = 0;
  for (let done = 0; done < events; done += batchLength) {
    const length = Math.min(batchLength, events - done);
    const tUs = new Float64Array(length);
    const x = new Uint16Array(length);
    const y = new Uint16Array(length);
    const polarity = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      if (run === 0) {
        run = 1 + random.integer(4);
        column = random.integer(sensor.width - 8);
        row = random.integer(sensor.height);
        on = random.integer(2);
        if (random.integer(2) === 0) timeUs++;
      }
      tUs[i] = timeUs;
      x[i] = column++;
      y[i] = row;
      polarity[i] = on;
      run--;
    }
    batches.push(createBatch(sensor, tUs, x, y, polarity));
  }
  return batches;
}

async function* streamOf<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** Bytes cut as they come from a file. */
function* cut(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += chunkLength) {
    yield bytes.subarray(start, start + chunkLength);
  }
}

async function best(work: () => Promise<number>): Promise<number> {
  let seconds = Infinity;
  for (let i = 0; i < repeats; i++) seconds = Math.min(seconds, await work());
  return seconds;
}

const secondsSince = (start: bigint): number => Number(process.hrtime.bigint() - start) / 1e9;

async function measure(format: EventFormat, events: number): Promise<string> {
  const sensor = {
    width: Math.min(640, format.limits.width),
    height: Math.min(480, format.limits.height),
  };
  const batches = syntheticBatches(sensor, events);
  const file = 'bench';
  let chunks: Uint8Array[] = [];
  const encodeSeconds = await best(async () => {
    chunks = [];
    const start = process.hrtime.bigint();
    for await (const chunk of format.encode(streamOf(batches), { file, sensor })) {
      chunks.push(chunk);
    }
    return secondsSince(start);
  });
  const bytes = Buffer.concat(chunks);
  chunks = [];
  const decodeSeconds = await best(async () => {
    let decoded = 0;
    const options = { file, sensor, report: createReport(), reuse: true };
    const start = process.hrtime.bigint();
    for await (const batch of format.decode(streamOf(cut(bytes)), options)) {
      decoded += batch.length;
    }
    const seconds = secondsSince(start);
    if (decoded !== events) throw new Error(`${format.name}: ${decoded} of ${events} events`);
    return seconds;
  });
  const rate = (seconds: number): string => (events / seconds / 1e6).toFixed(0).padStart(6);
  const perEvent = (bytes.length / events).toFixed(2).padStart(6);
  return `| ${format.name.padEnd(12)} | ${rate(decodeSeconds)} | ${rate(encodeSeconds)} | ${perEvent} |`;
}

const [count, ...names] = process.argv.slice(2);
const events = Number(count ?? 10_000_000);
const chosen = names.length > 0 ? names.map((name) => formatByName(name)) : formats;
console.log(`${events} events, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}`);
console.log('| format       | decode | encode | bytes/event |  (Mev/s)');
for (const format of chosen) console.log(await measure(format, events));
