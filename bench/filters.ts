import { cpus } from 'node:os';
import { createBatch, type EventBatch } from '../ingest/eventBatch.js';
import { openRecording } from '../ingest/recording.js';
import { filterStream, parseFilter } from '../preprocess/filters/index.js';
import { syntheticBatches } from './syntheticEvents.js';

// Events per second of preprocessing, one thread, in memory: `npm run bench:filters -- [EVENTS] [RECORDING …]
// [NAME:ARGS …]`. Without a recording the events are synthetic and seeded; recordings are read one after the
// other, over and over, each later than the one before. Each number is the best of several runs.

const repeats = 3;

/** Filters that are timed where none are named. */
const defaultFilters = [
  'refractory:1000',
  'backgroundActivity:2000',
  'spatiotemporalCorrelation:2000',
  'spatiotemporalCorrelation:2000,2,1',
  'doubleWindow:36,9',
  'yNoise:10000',
  'timeDecay:5000,1',
  'hotPixels:200',
  'antiFlicker:90,110',
  'decimate:4',
  'randomDrop:0.5',
  'rateLimit:1000000',
  'downsample:2',
  'downsampleCount:2',
  'flipX',
];

async function* streamOf<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** Recordings of one sensor as one of so many events. */
async function repeated(paths: readonly string[], events: number): Promise<EventBatch[]> {
  const batches: EventBatch[] = [];
  let done = 0;
  let fromUs = 0;
  while (done < events) {
    for (const path of paths) {
      let shiftUs: number | undefined;
      const recording = await openRecording(path, { sensor: { width: 128, height: 128 } });
      for await (const { sensor, tUs, x, y, polarity } of recording.batches()) {
        shiftUs ??= fromUs - tUs[0];
        const later = tUs.map((t) => t + shiftUs!);
        batches.push(createBatch(sensor, later, x, y, polarity));
        done += tUs.length;
        fromUs = later[later.length - 1];
      }
    }
  }
  return batches;
}

/** Fewest seconds that the work takes. */
async function best(work: () => Promise<void>): Promise<number> {
  let seconds = Infinity;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await work();
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  return seconds;
}

async function measureFilter(call: string, batches: readonly EventBatch[]): Promise<string> {
  const filter = parseFilter(call);
  const total = batches.reduce((sum, { length }) => sum + length, 0);
  let kept = 0;
  const rate = async (reuse: boolean): Promise<string> => {
    const seconds = await best(async () => {
      kept = 0;
      for await (const { length } of filterStream(streamOf(batches), [filter], { reuse })) {
        kept += length;
      }
    });
    return (total / seconds / 1e6).toFixed(1).padStart(6);
  };
  const rates = [await rate(true), await rate(false)];
  const share = ((100 * kept) / total).toFixed(0).padStart(4);
  return `| ${call.padEnd(34)} | ${rates.join(' | ')} | ${share} % |`;
}

const args = process.argv.slice(2);
const count = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 10_000_000);
const calls = args.filter((arg) => arg.includes(':') || arg === 'flipX');
const paths = args.filter((arg) => !calls.includes(arg) && !/^\d+$/.test(arg));
const batches =
  paths.length > 0
    ? await repeated(paths, count)
    : syntheticBatches({ width: 640, height: 480 }, count);
const events = batches.reduce((sum, { length }) => sum + length, 0);
console.log(`${events} events, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}`);
console.log('Mev/s with memory used again, and with new memory for each batch');
console.log('| filter                             |  reuse |    new |  kept |');
for (const call of calls.length > 0 ? calls : defaultFilters) {
  console.log(await measureFilter(call, batches));
}
