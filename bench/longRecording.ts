import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBatch, type EventBatch } from '../ingest/eventBatch.js';
import { openRecording, writeRecording } from '../ingest/recording.js';

// Writes a synthetic recording of 2 GB, converts it to EVT 2.0 in a process of its own, takes slices with
// an index, and prints the most memory that was resident: `npm run bench:long -- [GIGABYTES] [FORMAT]`, DAT by default.

const sensor = { width: 640, height: 480 };
const batchLength = 65_536;
/** About, as they are written; 8 for others. */
const bytesPerEvent: Readonly<Record<string, number>> = {
  npy: 13,
  hdf5: 9,
  bag: 13,
  mcap: 16,
  db3: 16,
};

async function* synthetic(events: number): AsyncGenerator<EventBatch> {
  let state = 1;
  for (let done = 0; done < events; done += batchLength) {
    const length = Math.min(batchLength, events - done);
    const tUs = new Float64Array(length);
    const x = new Uint16Array(length);
    const y = new Uint16Array(length);
    const polarity = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      tUs[i] = Math.floor((done + i) / 4);
      x[i] = (state >>> 8) % sensor.width;
      y[i] = (state >>> 16) % sensor.height;
      polarity[i] = state >>> 31;
    }
    yield createBatch(sensor, tUs, x, y, polarity);
  }
}

async function count(batches: AsyncIterable<EventBatch>): Promise<number> {
  let events = 0;
  for await (const batch of batches) events += batch.length;
  return events;
}

/** Runs this file again with other arguments, and passes on what it prints. */
function inOwnProcess(...args: string[]): void {
  const own = [...process.execArgv, process.argv[1], ...args];
  const { status } = spawnSync(process.execPath, own, { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${args[0]} failed`);
}

// Sampled, because what the system calls the most resident memory includes that of the parent process.
let mostResident = 0;
setInterval(() => {
  mostResident = Math.max(mostResident, process.memoryUsage.rss());
}, 10).unref();
const residentMegabytes = (): string => (mostResident / 1e6).toFixed(0);
const secondsSince = (start: number): string => ((performance.now() - start) / 1000).toFixed(1);

const [first = '2', ...paths] = process.argv.slice(2);
const start = performance.now();
const before = (process.memoryUsage.rss() / 1e6).toFixed(0);
if (first === 'convert') {
  const recording = await openRecording(paths[0]);
  const { events } = await writeRecording(paths[1], recording.batches({ reuse: true }), { sensor });
  console.log(
    `convert: ${events} events, ${secondsSince(start)} s, ${residentMegabytes()} MB resident at most, ${before} before`,
  );
} else if (first === 'slice') {
  const recording = await openRecording(paths[0], { index: 'make' });
  await count(recording.batches({ fromUs: 0, toUs: 1 }));
  console.log(`index: ${secondsSince(start)} s, ${residentMegabytes()} MB resident at most`);
  const opened = performance.now();
  const again = await openRecording(paths[0]);
  console.log(`open with the index: ${secondsSince(opened)} s`);
  const slices = 100;
  const sliced = performance.now();
  const lastUs = Number(paths[1]);
  for (let i = 0; i < slices; i++) {
    const fromUs = Math.floor(((lastUs - 10_000) * i) / slices);
    await count(again.batches({ fromUs, toUs: fromUs + 10_000, reuse: true }));
  }
  const each = ((performance.now() - sliced) / slices).toFixed(1);
  console.log(`slices of 10 ms (40,000 events): ${each} ms each`);
} else {
  const folder = await mkdtemp(join(tmpdir(), 'saccade-bench-'));
  try {
    const [format = 'dat'] = paths;
    const path = join(folder, `long.${format}`);
    const events = Math.floor((Number(first) * 1e9) / (bytesPerEvent[format] ?? 8));
    await writeRecording(path, synthetic(events), { sensor, format });
    const { size } = await stat(path);
    console.log(
      `${format}: ${size} bytes, written in ${secondsSince(start)} s, ${residentMegabytes()} MB resident at most`,
    );
    inOwnProcess('convert', path, join(folder, 'long.raw'));
    inOwnProcess('slice', path, String(Math.floor(events / 4)));
  } finally {
    await rm(folder, { recursive: true });
  }
}
