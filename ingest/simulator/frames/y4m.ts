import { SaccadeError } from '../../../engine/support/errors.js';
import { ByteReader } from '../../bytes.js';
import type { SensorSize } from '../../eventBatch.js';
import { type Frame, type FrameSource, greyOf } from './frameSource.js';

const magic = 'YUV4MPEG2';
const maxHeader = 4096;
const maxSide = 16_384;

interface Y4mHeader {
  readonly size: SensorSize;
  readonly durationUs: number | undefined;
  /** Bytes of the luma plane and of the planes behind it. */
  readonly luma: number;
  readonly chroma: number;
  /** 1, or 2 for depths above 8 bits (little-endian). */
  readonly bytesPerSample: number;
  readonly depth: number;
  readonly fullRange: boolean;
}

/** Samples of the planes behind the luma plane, by the beginning of the colour space's name. */
const chromaSamples: Readonly<Record<string, (width: number, height: number) => number>> = {
  mono: () => 0,
  '420': (width, height) => 2 * Math.ceil(width / 2) * Math.ceil(height / 2),
  '411': (width, height) => 2 * Math.ceil(width / 4) * height,
  '422': (width, height) => 2 * Math.ceil(width / 2) * height,
  '444': (width, height) => 2 * width * height,
  '444alpha': (width, height) => 3 * width * height,
};

/**
 * A YUV4MPEG2 stream (`.y4m`), the uncompressed video of the MJPEG tools that ffmpeg and others write: a line of
 * parameters, then for each frame a line `FRAME` and its planes. Only the luma plane is looked at, of 8 to
 * 16 bits; its range is 16 … 235 unless the stream says `XCOLORRANGE=FULL`.
 *
 * @throws SaccadeError (`input`) that names the offset and what was expected. A frame that is cut off ends the
 *   sequence with that error, after the frames before it.
 */
export async function openY4m(
  bytes: AsyncIterable<Uint8Array>,
  file: string,
  signal?: AbortSignal,
): Promise<FrameSource> {
  const reader = new ByteReader(bytes, file, signal);
  const header = parseHeader(await readLine(reader, file), file);
  const { size } = header;
  return {
    file,
    size,
    frames: (wanted) => readFrames(reader, header, wanted, file),
  };
}

async function* readFrames(
  reader: ByteReader,
  header: Y4mHeader,
  size: SensorSize,
  file: string,
): AsyncGenerator<Frame> {
  const { luma, chroma, durationUs } = header;
  const { width, height } = header.size;
  const sameSize = size.width === width && size.height === height;
  try {
    while (reader.available > 0 || (await reader.fill())) {
      const { offset } = reader;
      const line = await readLine(reader, file);
      if (!/^FRAME( |$)/.test(line)) {
        throw new SaccadeError('input', 'expected a line that begins with FRAME', { file, offset });
      }
      if (!(await reader.require(luma + chroma))) {
        const message = `the frame is cut off, expected ${luma + chroma} bytes`;
        throw new SaccadeError('input', message, { file, offset });
      }
      const plane = reader.bytes.subarray(reader.position, reader.position + luma);
      const grey = greyOfLuma(plane, header);
      reader.position += luma + chroma;
      const raw = { width, height, channels: 1 } as const;
      yield { grey: sameSize ? grey : await greyOf(grey, size, file, { raw }), durationUs };
    }
  } finally {
    await reader.close();
  }
}

/** Luma of any depth and range to 0 … 255. */
function greyOfLuma(
  plane: Uint8Array,
  { bytesPerSample, depth, fullRange }: Y4mHeader,
): Uint8Array {
  const count = plane.length / bytesPerSample;
  const low = fullRange ? 0 : 16 * 2 ** (depth - 8);
  const high = fullRange ? 2 ** depth - 1 : 235 * 2 ** (depth - 8);
  const grey = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const value = bytesPerSample === 1 ? plane[i] : plane[2 * i] | (plane[2 * i + 1] << 8);
    grey[i] = Math.max(0, Math.min(255, Math.round((255 * (value - low)) / (high - low))));
  }
  return grey;
}

async function readLine(reader: ByteReader, file: string): Promise<string> {
  for (let length = 0; length < maxHeader; length++) {
    if (reader.available <= length && !(await reader.fill())) break;
    if (reader.bytes[reader.position + length] !== 0x0a) continue;
    const { position } = reader;
    reader.position += length + 1;
    return Buffer.from(reader.bytes.subarray(position, position + length)).toString('latin1');
  }
  throw new SaccadeError('input', `expected the line ${magic} or FRAME of a Y4M video`, {
    file,
    offset: reader.offset,
  });
}

function parseHeader(line: string, file: string): Y4mHeader {
  const fail = (message: string): SaccadeError =>
    new SaccadeError('input', message, { file, offset: 0 });
  const [name, ...parameters] = line.split(' ');
  if (name !== magic) throw fail(`expected ${magic}, the first word of a Y4M video`);
  const values = new Map(parameters.map((text) => [text.slice(0, 1), text.slice(1)]));
  const width = Number(values.get('W'));
  const height = Number(values.get('H'));
  const isSide = (side: number): boolean => Number.isInteger(side) && side >= 1 && side <= maxSide;
  if (!isSide(width) || !isSide(height)) {
    throw fail(`expected a width W and a height H from 1 to ${maxSide}`);
  }
  const [, over, under] = /^(\d+):(\d+)$/.exec(values.get('F') ?? '') ?? [];
  const durationUs = Number(over) > 0 && Number(under) > 0 ? (1e6 * +under) / +over : undefined;
  const colours = values.get('C') ?? '420jpeg';
  const [, kind = '', bits] =
    /^(mono|444alpha|\d{3})(?:jpeg|mpeg2|paldv)?p?(\d+)?$/.exec(colours) ?? [];
  const depth = bits === undefined ? 8 : Number(bits);
  if (!Object.hasOwn(chromaSamples, kind) || depth < 8 || depth > 16) {
    throw fail(
      `unknown colour space C${colours}, known are ${Object.keys(chromaSamples).join(', ')}`,
    );
  }
  const bytesPerSample = depth > 8 ? 2 : 1;
  return {
    size: { width, height },
    durationUs,
    luma: width * height * bytesPerSample,
    chroma: chromaSamples[kind](width, height) * bytesPerSample,
    bytesPerSample,
    depth,
    fullRange: parameters.includes('XCOLORRANGE=FULL'),
  };
}
