import { extname } from 'node:path';
import { SaccadeError } from '../../engine/support/errors.js';
import type { DetectInput, EventFormat } from '../format.js';
import { aedat1 } from './aedat1.js';
import { aedat2 } from './aedat2.js';
import { aedat3 } from './aedat3.js';
import { aedat4 } from './aedat4.js';
import { bs3 } from './bs3.js';
import { csv } from './csv.js';
import { dat } from './dat.js';
import { eventStream } from './eventStream.js';
import { evt2 } from './evt2.js';
import { evt21 } from './evt21.js';
import { evt3 } from './evt3.js';
import { hdf5 } from './hdf5.js';
import { mat } from './mat.js';
import { mcap } from './mcap.js';
import { nmnist } from './nmnist.js';
import { npy } from './npy.js';
import { npz } from './npz.js';
import { rosbag } from './rosbag.js';
import { rosbag2 } from './rosbag2.js';

/** Every format that is known. One more is one line here. */
export const formats: readonly EventFormat[] = [
  aedat1,
  aedat2,
  aedat3,
  aedat4,
  evt2,
  evt21,
  evt3,
  dat,
  eventStream,
  nmnist,
  bs3,
  csv,
  npy,
  npz,
  mat,
  hdf5,
  rosbag,
  rosbag2,
  mcap,
];

const knownFormats = (): string => formats.map((format) => format.name).join(', ');

/** The format of that name. Throws a `SaccadeError` that lists the known ones. */
export function formatByName(name: string): EventFormat {
  const format = formats.find((known) => known.name === name);
  if (format === undefined) {
    throw new SaccadeError('usage', `unknown format "${name}", known are ${knownFormats()}`);
  }
  return format;
}

/** The lower-case extension of a path, without the dot. */
export function extensionOf(path: string): string {
  return extname(path).slice(1).toLowerCase();
}

/** The format that files of this extension are written in. Throws a `SaccadeError` that lists the known ones. */
export function formatByExtension(path: string): EventFormat {
  const extension = extensionOf(path);
  const format = formats.find((known) => known.extensions.includes(extension));
  if (format === undefined) {
    const known = formats.map(({ name, extensions }) => `${name} (.${extensions.join(', .')})`);
    const message = `no format has the extension ".${extension}", known are ${known.join('; ')}`;
    throw new SaccadeError('usage', message, { file: path });
  }
  return format;
}

/**
 * The format that the bytes are most likely of. The content decides; the extension only weighs between
 * formats without a magic number.
 *
 * @param file for the error message.
 * @throws SaccadeError that names the file and the known formats, where none fits.
 */
export function detectFormat(input: DetectInput, file?: string): EventFormat {
  let best: EventFormat | undefined;
  let bestConfidence = 0;
  for (const format of formats) {
    const confidence = format.detect(input);
    if (confidence > bestConfidence) {
      best = format;
      bestConfidence = confidence;
    }
  }
  if (best === undefined) {
    const found = input.head.length === 0 ? 'the file is empty' : 'not an event recording';
    throw new SaccadeError('input', `${found}; known formats are ${knownFormats()}`, { file });
  }
  return best;
}
