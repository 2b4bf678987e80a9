import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { createRandom } from '../engine/support/random.js';
import { createBatch, type EventBatch } from '../ingest/eventBatch.js';
import { writeRecording } from '../ingest/recording.js';
import { parseAugmentation } from '../preprocess/augmentations/index.js';
import { cachedTensors, cachedWindows } from '../preprocess/cache/index.js';
import {
  batchBytes,
  type Clip,
  type EpochOptions,
  loadAugmented,
  shuffledIndices,
} from '../preprocess/loader.js';
import { epochOptions, type LoaderThreadData, threadData } from '../preprocess/loaderMessages.js';
import { openLoader } from '../preprocess/parallelLoader.js';
import { parseRepresentation } from '../preprocess/representations/index.js';

// Clips per second of the loader, against the sum of what its threads make when each works for itself, in a
// loop, with the same batches and at the same time: `npm run bench:loader -- [WORKERS …]`.

const epochs = 2;
/** Clips that are listed several times make epochs as long as those of real data sets. */
const repeats = 10;
const recordings = 8;
const windowsPerRecording = 8;
const eventsPerWindow = 40_000;
const windowUs = 1_500_000;
const sensor = { width: 128, height: 128 };

interface AloneData {
  readonly data: LoaderThreadData;
  readonly batches: readonly Uint32Array[];
}

/** A thread by itself: waits for the start, makes its batches and says how many clips a second. */
function workAlone({ data, batches }: AloneData): void {
  const options = epochOptions(data);
  const memory = new ArrayBuffer(batchBytes(options));
  loadAugmented(options, 0, batches[0], memory);
  parentPort!.postMessage('ready');
  parentPort!.once('message', () => {
    const start = performance.now();
    let clips = 0;
    for (let epoch = 1; epoch <= epochs; epoch++) {
      for (const chosen of batches) {
        loadAugmented(options, epoch, chosen, memory);
        clips += chosen.length;
      }
    }
    parentPort!.postMessage((1000 * clips) / (performance.now() - start));
  });
}

function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

/** What all threads together did. */
interface Measured {
  /** Clips per second. */
  readonly rate: number;
  /** Time of processors for a clip, ms: on a busy machine it tells more than the clock. */
  readonly cpuMs: number;
}

/** Measures the processors from now on. */
function startCpu(): (clips: number) => number {
  const before = process.cpuUsage();
  return (clips) => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000 / clips;
  };
}

async function sumOfThreads(options: EpochOptions, workers: number): Promise<Measured> {
  const batches = shuffledIndices(options, 1);
  const threads = Array.from({ length: workers }, (_, i) => {
    const own = batches.filter((_, batch) => batch % workers === i);
    const data: AloneData = { data: threadData(options), batches: own };
    return new Worker(new URL(import.meta.url), { workerData: data });
  });
  await Promise.all(threads.map(nextMessage));
  const rates = threads.map(nextMessage);
  const cpu = startCpu();
  for (const thread of threads) thread.postMessage('go');
  const rate = ((await Promise.all(rates)) as number[]).reduce((a, b) => a + b);
  const cpuMs = cpu(epochs * options.clips.length);
  await Promise.all(threads.map((thread) => thread.terminate()));
  return { rate, cpuMs };
}

async function loaderRate(options: EpochOptions, workers: number): Promise<Measured> {
  const loader = openLoader({ ...options, workers, prefetch: 2, reuse: true });
  if (loader.workers !== workers) throw new Error('the thread was not compiled');
  for await (const batch of loader.epoch(0)) if (batch.shape[0] === 0) throw new Error('no clips');
  const start = performance.now();
  const cpu = startCpu();
  let clips = 0;
  for (let epoch = 1; epoch <= epochs; epoch++) {
    for await (const { shape } of loader.epoch(epoch)) clips += shape[0];
  }
  const rate = (1000 * clips) / (performance.now() - start);
  const cpuMs = cpu(clips);
  await loader.close();
  return { rate, cpuMs };
}

async function* recordingOf(seed: number): AsyncGenerator<EventBatch> {
  const random = createRandom(seed, 'bench');
  for (let window = 0; window < windowsPerRecording; window++) {
    const spots = Float64Array.from({ length: eventsPerWindow }, () => random.uniform()).sort();
    const pixels = (): Uint16Array => Uint16Array.from(spots, () => random.integer(128));
    yield createBatch(
      sensor,
      spots.map((spot) => Math.floor((window + spot) * windowUs)),
      pixels(),
      pixels(),
      Uint8Array.from(spots, () => random.integer(2)),
    );
  }
}

async function prepare(folder: string): Promise<{ plain: Clip[]; kept: Clip[] }> {
  const [plain, kept]: [Clip[], Clip[]] = [[], []];
  for (let i = 0; i < recordings; i++) {
    const path = join(folder, `${i}.es`);
    await writeRecording(path, recordingOf(i), { sensor });
    const window = { kind: 'time', windowUs, incomplete: 'pad' } as const;
    const { shard } = await cachedWindows(folder, { path }, { filters: [], window });
    const { tensors } = await cachedTensors(folder, shard, representation, size);
    for (let position = 0; position < shard.length; position++) {
      const clip = { shard, position, label: i % 4, recording: path };
      plain.push(clip);
      kept.push({ ...clip, tensors });
    }
  }
  const often = (clips: Clip[]): Clip[] => Array.from({ length: repeats }, () => clips).flat();
  return { plain: often(plain), kept: often(kept) };
}

const representation = parseRepresentation('histogram');
const size = { bins: 16, height: 64, width: 64 };

async function main(counts: readonly number[]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'saccade-bench-'));
  const { plain, kept } = await prepare(folder);
  const calls = ['translate:12', 'crop:0.85', 'dropEvents:0.3', 'dropTime:0.2'];
  const common = { representation, size, batchSize: 8, seed: 1 };
  const augmented = { ...common, clips: plain, augmentations: calls.map(parseAugmentation) };
  const works: [string, EpochOptions][] = [
    ['augmented', augmented],
    ['events, not augmented', { ...augmented, augmentations: [] }],
    ['tensors', { ...augmented, clips: kept, augmentations: [] }],
  ];
  console.log('clips per second and ms of processors per clip: threads alone, loader, share');
  for (const [name, options] of works) {
    for (const workers of counts) {
      const alone = await sumOfThreads(options, workers);
      const loaded = await loaderRate(options, workers);
      const text = ({ rate, cpuMs }: Measured): string =>
        `${rate.toFixed(0)} (${cpuMs.toFixed(2)} ms)`;
      const share = `${((100 * loaded.rate) / alone.rate).toFixed(0)} %`;
      console.log(`${name}, ${workers}: ${text(alone)}, ${text(loaded)}, ${share}`);
    }
  }
  await rm(folder, { recursive: true });
}

if (isMainThread) {
  const given = process.argv.slice(2).map(Number);
  await main(given.length > 0 ? given : [1, 2]);
} else {
  workAlone(workerData as AloneData);
}
