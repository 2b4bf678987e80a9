import sharp, { type Metadata, type SharpOptions } from 'sharp';
import { SaccadeError } from '../../../engine/support/errors.js';
import type { SensorSize } from '../../eventBatch.js';

/** One picture of a sequence. */
export interface Frame {
  /** Grey values as shown on a screen (sRGB, 0 … 255), row-major, of the size that was asked for. */
  readonly grey: Uint8Array;
  /** How long it is shown, µs; undefined where the source does not say. */
  readonly durationUs: number | undefined;
}

/** A sequence of pictures, read once, from the first to the last. */
export interface FrameSource {
  /** For messages. */
  readonly file: string;
  /** Of its first picture. */
  readonly size: SensorSize;
  /** Frames scaled to a size. Memory holds one of them. */
  frames(size: SensorSize): AsyncIterable<Frame>;
}

/** What `sharp` is to read: a file, or raw grey values. */
type PictureInput = Parameters<typeof sharp>[0];

/** A picture as grey values, scaled. Throws a `SaccadeError` (`input`) that names the file where it is none. */
export async function greyOf(
  input: PictureInput,
  { width, height }: SensorSize,
  file: string,
  options?: SharpOptions,
): Promise<Uint8Array> {
  return sharp(input, options)
    .flatten()
    .resize(width, height, { fit: 'fill' })
    .greyscale()
    .raw()
    .toBuffer()
    .catch((error: unknown) => {
      throw new SaccadeError('input', 'cannot be read as a picture', { file }, error);
    });
}

/** What the head of a picture says. Throws a `SaccadeError` (`input`) that names the file where it is none. */
export async function headOf(file: string): Promise<Metadata> {
  return sharp(file, { animated: true })
    .metadata()
    .catch((error: unknown) => {
      throw new SaccadeError('input', 'cannot be read as a picture', { file }, error);
    });
}
