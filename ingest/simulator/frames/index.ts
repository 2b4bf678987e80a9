import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { SaccadeError } from '../../../engine/support/errors.js';
import { ffmpegFrames } from './ffmpeg.js';
import type { FrameSource } from './frameSource.js';
import { isGlob, openAnimation, openPictures, pictureExtensions } from './pictures.js';
import { openY4m } from './y4m.js';

export type { Frame, FrameSource } from './frameSource.js';
export { listFrames } from './pictures.js';
export { openY4m } from './y4m.js';

/**
 * Opens a sequence of pictures: a folder or pattern of pictures, an animated GIF or WebP, a Y4M video (told by its
 * content), or any other video, which the ffmpeg of the machine decodes.
 *
 * @throws SaccadeError (`input`) for what is missing or no sequence, (`environment`) where ffmpeg is needed and
 *   not there.
 */
export async function openFrames(
  path: string,
  options: { readonly signal?: AbortSignal; readonly ffmpeg?: string } = {},
): Promise<FrameSource> {
  const { signal, ffmpeg } = options;
  const found = await stat(path).catch(() => undefined);
  if (found === undefined && !isGlob(path)) {
    throw new SaccadeError('input', 'there is no such file or folder', { file: path });
  }
  if (found?.isDirectory() ?? true) return openPictures(path);
  if (pictureExtensions.includes(extname(path).toLowerCase())) return openAnimation(path);
  const isY4m = (await firstBytes(path, 10)) === 'YUV4MPEG2 ';
  const bytes = isY4m ? createReadStream(path) : ffmpegFrames(path, { signal, command: ffmpeg });
  return openY4m(bytes as AsyncIterable<Uint8Array>, path, signal);
}

async function firstBytes(path: string, length: number): Promise<string> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw new SaccadeError('input', 'cannot be read', { file: path }, error);
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}
