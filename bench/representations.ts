import { cpus } from 'node:os';

import { eventLoops } from '../engine/native/eventLoops.js';
import { plainLoops } from '../engine/ops/eventLoops.js';
import { createBatch, type EventBatch, sliceBatch } from '../ingest/eventBatch.js';
import {
  addToClip,
  clipLength,
  finishClip,
  parseRepresentation,
  startClip,
} from '../preprocess/representations/index.js';

// Rates of preprocessing on one core: `npm run bench:representations -- [EVENTS] [CALL …]`. The recording is
// synthetic and seeded: edges that move over the sensor, so that neighbouring pixels fire in turn, and noise.
// Each number is the best of several runs.

const sensor = { width: 346, height: 260 };
const batchLength = 65_536;
const repeats = 9;
const size = { bins: 10, ...sensor };

const defaultCalls = [
  'spikes',
  'histogram',
  'frame',
  'voxel',
  'timeSurface',
  'timeSurface:linear=1',
  'sae',
  'est',
  'tore',
  'binaRep',
  'mdes',
  'afe',
];

/** 90 % of events lie on a vertical edge that moves to and fro, 10 % anywhere; 4 events a µs. */
export function syntheticRecording(events: number): EventBatch {
  const tUs = new Float64Array(events);
  const x = new Uint16Array(events);
  const y = new Uint16Array(events);
  const polarity = new Uint8Array(events);
  let state = 1;
  for (let i = 0; i < events; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    const random = state >>> 8;
    const edge = Math.floor(sensor.width * (0.5 + 0.45 * Math.sin(i / 4e5)));
    tUs[i] = Math.floor(i / 4);
    x[i] = random % 10 === 0 ? (random >>> 4) % sensor.width : edge + ((random >>> 4) & 3);
    y[i] = (random >>> 8) % sensor.height;
    polarity[i] = (random >>> 6) & 1;
  }
  return createBatch(sensor, tUs, x, y, polarity);
}

/** Fewest seconds that the work takes. */
function best(work: () => void): number {
  let least = Infinity;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    work();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  return least;
}

const [count, ...named] = process.argv.slice(2);
const events = Number(count ?? 10_000_000);
const recording = syntheticRecording(events);
const batches: EventBatch[] = [];
for (let start = 0; start < events; start += batchLength) {
  batches.push(sliceBatch(recording, start, Math.min(events, start + batchLength)));
}
const interval = { fromUs: 0, toUs: recording.tUs[events - 1] };
const rate = (seconds: number): string => (events / seconds / 1e6).toFixed(0).padStart(6);

console.log(
  `${events} events of ${sensor.width} x ${sensor.height} pixels, ${size.bins} bins, Node ` +
    `${process.version}, ${cpus()[0]?.model}, ${eventLoops() === plainLoops ? 'no ' : ''}native loops`,
);
console.log('Mev/s with native loops where there are some');
for (const call of named.length > 0 ? named : defaultCalls) {
  const representation = parseRepresentation(call);
  const out = new Float32Array(clipLength(representation, size));
  const seconds = best(() => {
    const clip = startClip(representation, sensor, interval, size, out);
    for (const batch of batches) addToClip(clip, batch);
    finishClip(clip);
  });
  console.log(`${call.padEnd(24)} ${rate(seconds)}`);
}
if (named.length === 0) {
  console.log('Mev/s of the plain loops in JavaScript');
  const grid = startClip(parseRepresentation('sae'), sensor, interval, size).grid;
  for (const kind of ['spikes', 'histogram', 'signed', 'voxel'] as const) {
    const out = new Float32Array(2 * size.bins * sensor.height * sensor.width);
    const seconds = best(() => {
      for (const batch of batches) plainLoops.addToBins(out, batch, grid, kind);
    });
    console.log(`${kind.padEnd(24)} ${rate(seconds)}`);
  }
  const latest = new Float64Array(2 * size.bins * sensor.height * sensor.width).fill(-Infinity);
  const seconds = best(() => {
    for (const batch of batches) plainLoops.raiseToLatest(latest, batch, grid);
  });
  console.log(`${'raiseToLatest'.padEnd(24)} ${rate(seconds)}`);
}
