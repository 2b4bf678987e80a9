import { readdir } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { SaccadeError } from '../../../engine/support/errors.js';
import { type Frame, type FrameSource, greyOf, headOf } from './frameSource.js';

export const pictureExtensions = [
  '.png',
  '.jpg',
  '.jpeg',
  '.webp',
  '.tif',
  '.tiff',
  '.avif',
  '.gif',
];
const naturally = new Intl.Collator('en', { numeric: true });

/**
 * The pictures of a folder, or those whose name fits a pattern (`frames/img*.png`; `*` is any text and `?` any
 * character, in the name only), in natural order of their names.
 *
 * @throws SaccadeError (`input`) for fewer than two.
 */
export async function listFrames(pattern: string): Promise<string[]> {
  const isPattern = isGlob(pattern);
  const folder = isPattern ? dirname(pattern) : pattern;
  const fits = isPattern ? matcher(basename(pattern)) : (): boolean => true;
  const names = await readdir(folder).catch((error: unknown) => {
    throw new SaccadeError('input', 'cannot read the folder', { file: folder }, error);
  });
  const frames = names
    .filter((name) => pictureExtensions.includes(extname(name).toLowerCase()) && fits(name))
    .sort(naturally.compare);
  if (frames.length < 2) {
    const message = `${frames.length} pictures (${pictureExtensions.join(', ')}), expected two or more`;
    throw new SaccadeError('input', message, { file: pattern });
  }
  return frames.map((name) => join(folder, name));
}

/** Whether the last part of a path is a pattern. */
export function isGlob(path: string): boolean {
  return /[*?]/.test(basename(path));
}

function matcher(pattern: string): (name: string) => boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replaceAll('?', '.');
  const whole = new RegExp(`^${source}$`);
  return (name) => whole.test(name);
}

/** A folder or pattern of pictures, a frame each. */
export async function openPictures(pattern: string): Promise<FrameSource> {
  const files = await listFrames(pattern);
  const { width, height, pageHeight = height } = await headOf(files[0]);
  return {
    file: pattern,
    size: { width, height: pageHeight },
    async *frames(size): AsyncGenerator<Frame> {
      for (const file of files)
        yield { grey: await greyOf(file, size, file), durationUs: undefined };
    },
  };
}

/**
 * An animated GIF or WebP, with the times that it states.
 *
 * @throws SaccadeError (`input`) for a picture that does not move.
 */
export async function openAnimation(file: string): Promise<FrameSource> {
  const { width, height, pages = 1, pageHeight = height, delay = [] } = await headOf(file);
  if (pages < 2) {
    const message = 'is one picture, expected a video, an animation or a folder of pictures';
    throw new SaccadeError('input', message, { file });
  }
  return {
    file,
    size: { width, height: pageHeight },
    async *frames(size): AsyncGenerator<Frame> {
      for (let page = 0; page < pages; page++) {
        const durationUs = delay[page] > 0 ? delay[page] * 1000 : undefined;
        yield { grey: await greyOf(file, size, file, { page }), durationUs };
      }
    },
  };
}
