import type { EventBatch } from './eventBatch.js';
import type { EncodeOptions } from './format.js';
import { checkEvents } from './rebatch.js';
import { Spool } from './spool.js';

/** Events as four little-endian columns, each to be read once from start to end. */
export interface SpooledColumns {
  readonly count: number;
  readonly spools: Readonly<Record<'t' | 'x' | 'y' | 'p', Spool>>;
  close(): Promise<void>;
}

/**
 * Keeps events column by column, in temporary files above 4 MB each: for formats that hold one column
 * behind the other. x and y become uint16, p uint8.
 *
 * @param time type of the times in µs.
 * @throws SaccadeError (`input`) that names the first event which cannot be written.
 */
export async function spoolColumns(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  time: 'int64' | 'float64',
): Promise<SpooledColumns> {
  const spools = { t: new Spool(), x: new Spool(), y: new Spool(), p: new Spool() };
  const close = async (): Promise<void> => {
    for (const spool of Object.values(spools)) await spool.close();
  };
  let count = 0;
  try {
    for await (const { length, tUs, x, y, polarity } of checkEvents(batches, options)) {
      const times = time === 'int64' ? BigInt64Array.from(tUs, BigInt) : tUs.slice();
      await spools.t.write(bytesOf(times));
      await spools.x.write(bytesOf(x.slice()));
      await spools.y.write(bytesOf(y.slice()));
      await spools.p.write(polarity.map((value) => (value === 0 ? 0 : 1)));
      count += length;
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { count, spools, close };
}

function bytesOf({ buffer }: { readonly buffer: ArrayBufferLike }): Uint8Array {
  return new Uint8Array(buffer);
}
