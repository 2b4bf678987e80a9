import { dtype_to_metadata, type Metadata } from 'h5wasm/node';
import type { EventBatch } from '../eventBatch.js';
import type { EncodeOptions } from '../format.js';
import { checkEvents, rebatch } from '../rebatch.js';
import { bytesOfFile } from '../temporaryFile.js';
import { withFile } from './hdf5Writer.js';

/** MATLAB's own header in front of the HDF5 file. */
const userBlockLength = 512;

const columns = [
  { name: 'x', matlab: 'uint16', type: '<H', of: ({ x }: EventBatch) => x.slice() },
  { name: 'y', matlab: 'uint16', type: '<H', of: ({ y }: EventBatch) => y.slice() },
  {
    name: 'pol',
    matlab: 'uint8',
    type: '<B',
    of: ({ polarity }: EventBatch) => polarity.map((value) => (value === 0 ? 0 : 1)),
  },
  {
    name: 'ts',
    matlab: 'int64',
    type: '<q',
    of: ({ tUs }: EventBatch) => BigInt64Array.from(tUs, BigInt),
  },
] as const;

/**
 * Encodes a MAT-file of version 7.3: an HDF5 file behind a header of 512 bytes, in which each variable is a dataset
 * with its class in the attribute `MATLAB_class`. Columns x, y (uint16), pol (uint8) and ts (int64, µs), deflated, of any length.
 * The `hdf5` format reads it.
 *
 * Source: MathWorks, "MAT-File Versions"; The HDF Group, "HDF5 File Format Specification Version 3.0" (user block).
 */
export async function* encodeMat73(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  yield userBlock();
  let first = true;
  for await (const chunk of bytesOfFile((path) => writeColumns(path, batches, options))) {
    if (first) moveSuperblock(chunk);
    first = false;
    yield chunk;
  }
}

async function writeColumns(
  path: string,
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): Promise<void> {
  await withFile(path, async (file) => {
    const tables = columns.map(({ name, matlab, type, of }) => {
      const append = file.table(name, dtype_to_metadata(type) as Metadata, 2);
      file.attribute('MATLAB_class', matlab, name, `S${matlab.length}`);
      return (batch: EventBatch): void => {
        const { buffer } = of(batch);
        append(new Uint8Array(buffer), batch.length);
      };
    });
    for await (const batch of rebatch(checkEvents(batches, options), 16_384)) {
      for (const append of tables) append(batch);
    }
  });
}

function userBlock(): Uint8Array {
  const block = Buffer.alloc(userBlockLength);
  block.fill(' ', 0, 124);
  block.write('MATLAB 7.3 MAT-file, written by saccade, HDF5 schema 1.00 .', 'latin1');
  block.writeUInt16LE(0x0200, 124);
  block.write('IM', 126, 'latin1');
  return block;
}

/** Tells a superblock of version 0 that it lies behind the user block: its own place and the end of the file. */
function moveSuperblock(head: Uint8Array): void {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (head[8] !== 0) throw new Error('HDF5 wrote a file of another version');
  for (const at of [24, 40]) {
    view.setBigUint64(at, view.getBigUint64(at, true) + BigInt(userBlockLength), true);
  }
}
