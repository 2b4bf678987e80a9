import { describe, expect, it } from 'vitest';
import { SaccadeError } from '../../engine/support/errors.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import {
  createReport,
  type EventFormat,
  maxDamages,
  rosMessageTypes,
  writtenCompressions,
} from '../../ingest/format.js';
import { formats } from '../../ingest/formats/index.js';
import { chunksOf, encodeRows, type EventRow, streamOf } from './streams.js';

/**
 * Mutations of every format's recordings: flipped bits, absurd numbers, cuts, repeated and lost parts. More
 * with SACCADE_FUZZ=1000000. A failure names its seed, which gives the same mutation again.
 */
const mutations = Number(process.env.SACCADE_FUZZ ?? 10_000);
const firstSeed = Number(process.env.SACCADE_FUZZ_SEED ?? 1);
// Some mutations keep HDF5 in a loop.
process.env.SACCADE_HDF5_PATIENCE_MS ??= '500';

const fixtureCount = 8;
/** Far more than a mutation of a small file can rightly hold; beyond, it is not bounded. */
const maxEvents = 5_000_000;
const maxMilliseconds = 20_000;

async function makeFixtures(format: EventFormat): Promise<Uint8Array[]> {
  const random = createRandom(7, `fuzz ${format.name}`);
  const sensor = {
    width: Math.min(240, format.limits.width),
    height: Math.min(180, format.limits.height),
  };
  // MAT 7.3 is read as HDF5.
  const variants = [undefined, ...(format.name === 'mat' ? [] : (format.variants ?? []))];
  return Promise.all(
    Array.from({ length: fixtureCount }, (_, fixture) => {
      let tUs = 0;
      const rows = Array.from({ length: 4 * fixture ** 2 }, (): EventRow => {
        tUs += random.integer(3) === 0 ? random.integer(3_000) : random.integer(3);
        return [
          tUs,
          random.integer(sensor.width),
          random.integer(sensor.height),
          random.integer(2),
        ];
      });
      // In the larger ones.
      const variant = fixture < 4 ? undefined : variants[fixture % variants.length];
      const options = {
        compression: writtenCompressions[fixture % writtenCompressions.length],
        // Variants of bags are of one kind of messages.
        rosMessage: variant === undefined ? rosMessageTypes[fixture % 2] : undefined,
        variant,
      };
      const encode: EventFormat['encode'] = (batches, given) =>
        format.encode(batches, { ...given, ...options });
      return encodeRows({ ...format, encode }, sensor, rows);
    }),
  );
}

/** Numbers that break careless code when they stand for lengths, counts and offsets. */
const absurd = [0, 1, -1, 0x7f, 0x80, 0x7fff, 0xffff, 0x7fffffff, -0x80000000, 0x01000000, 0x10000];

function mutate(fixture: Uint8Array, random: Random): Uint8Array {
  let bytes = Buffer.from(fixture);
  for (let change = random.integer(4); change >= 0; change--) {
    if (bytes.length < 4) break;
    const at = random.integer(bytes.length);
    switch (random.integer(7)) {
      case 0:
      case 1:
        bytes[at] ^= 1 << random.integer(8);
        break;
      case 2:
        bytes[at] = random.integer(256);
        break;
      case 3: {
        const value = absurd[random.integer(absurd.length)];
        const place = Math.min(at, bytes.length - 4);
        if (random.integer(2) === 0) bytes.writeInt32LE(value, place);
        else bytes.writeInt32BE(value, place);
        break;
      }
      case 4:
        bytes = bytes.subarray(0, at);
        break;
      case 5: {
        const part = bytes.subarray(at, at + random.integer(64));
        bytes = Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.integer(64))]);
    }
  }
  return bytes;
}

/** Throws where the decoder does anything but give events in range or refuse with an input error. */
async function decodeMutation(format: EventFormat, bytes: Uint8Array, cut: number): Promise<void> {
  const report = createReport();
  const started = performance.now();
  let events = 0;
  try {
    const chunks = streamOf(chunksOf(bytes, [cut]));
    for await (const batch of format.decode(chunks, { file: 'fuzz', report, batchLength: 500 })) {
      const { width, height } = batch.sensor;
      for (let i = 0; i < batch.length; i++) {
        if (!Number.isSafeInteger(batch.tUs[i])) throw new Error(`time ${batch.tUs[i]}`);
        if (batch.x[i] >= width || batch.y[i] >= height) throw new Error('outside the sensor');
        if (batch.polarity[i] > 1) throw new Error(`polarity ${batch.polarity[i]}`);
      }
      events += batch.length;
      if (events > maxEvents) throw new Error(`more than ${maxEvents} events`);
    }
  } catch (error) {
    if (!(error instanceof SaccadeError) || error.kind !== 'input') throw error;
  }
  const milliseconds = performance.now() - started;
  if (milliseconds > maxMilliseconds) throw new Error(`took ${milliseconds} ms`);
  if (report.damages.length > maxDamages) throw new Error('kept too many damages');
}

// HDF5 waits for its own thread, and for what does not end: meanwhile, the others compute.
describe.concurrent('mutated recordings give events or an input error', () => {
  it.each(formats.map((format) => [format.name, format] as const))(
    '%s',
    async (_name, format) => {
      const fixtures = await makeFixtures(format);
      for (let i = 0; i < mutations; i++) {
        const seed = firstSeed + i;
        const random = createRandom(seed, `mutation of ${format.name}`);
        const bytes = mutate(fixtures[(seed - 1) % fixtureCount], random);
        const cut = random.integer(3) === 0 ? 1 + random.integer(50) : 65_536;
        try {
          await decodeMutation(format, bytes, cut);
        } catch (error) {
          throw new Error(`SACCADE_FUZZ_SEED=${seed}: ${String(error)}`, { cause: error });
        }
        format.detect({ head: bytes, fileSize: bytes.length });
        format.sensorOf?.(bytes);
      }
      expect(mutations).toBeGreaterThan(0);
    },
    1_200_000,
  );
});
