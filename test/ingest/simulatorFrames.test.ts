import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import {
  type FrameOptions,
  openFrames,
  openY4m,
  simulateFrames,
} from '../../ingest/simulator/index.js';
import { collect } from './streams.js';

const size = { width: 16, height: 8 };
const quiet = { thresholdMismatch: 0, refractoryUs: 0, shotNoiseHz: 0, leakHz: 0 };

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A picture that is grey, but bright in one column. */
async function picture(name: string, column: number): Promise<void> {
  const grey = Buffer.alloc(size.width * size.height, 60);
  for (let y = 0; y < size.height; y++) grey[y * size.width + column] = 220;
  await sharp(grey, { raw: { ...size, channels: 1 } })
    .png()
    .toFile(join(folder, name));
}

async function simulate(options: Partial<FrameOptions> = {}): Promise<EventBatch> {
  const frames = simulateFrames({
    frames: folder,
    framesPerSecond: 100,
    noise: quiet,
    ...options,
  });
  return concatBatches(await collect(frames), size);
}

describe('simulateFrames', () => {
  it('gives ON events where it gets brighter and OFF events where it gets darker, in order', async () => {
    await picture('frame2.png', 3);
    await picture('frame10.png', 5); // behind frame2
    const { length, x, polarity, tUs, sensor } = await simulate();
    expect(sensor).toEqual(size);
    expect(length).toBeGreaterThan(2 * size.height);
    for (let i = 0; i < length; i++) {
      expect([x[i], polarity[i]]).toEqual(x[i] === 5 ? [5, 1] : [3, 0]);
      expect(tUs[i] >= (tUs[i - 1] ?? 0) && tUs[i] <= 10_000).toBe(true);
    }
  });

  it('gives the same events for the same seed, and none of a still', async () => {
    await picture('a.png', 3);
    await picture('b.png', 3);
    expect((await simulate()).length).toBe(0);
    await picture('c.png', 9);
    const noisy = { noise: { shotNoiseHz: 50 } };
    expect(await simulate({ ...noisy, seed: 3 })).toEqual(await simulate({ ...noisy, seed: 3 }));
    expect(await simulate({ ...noisy, seed: 3 })).not.toEqual(
      await simulate({ ...noisy, seed: 4 }),
    );
  });

  it('names what cannot be read', async () => {
    await picture('a.png', 3);
    await expect(simulate()).rejects.toThrow(/1 pictures .*expected two or more/);
    await writeFile(join(folder, 'b.png'), 'no picture');
    await expect(simulate()).rejects.toThrow(/b\.png: cannot be read as a picture/);
    await expect(simulate({ framesPerSecond: 0 })).rejects.toMatchObject({ kind: 'usage' });
    await expect(simulate({ frames: join(folder, 'none') })).rejects.toThrow(
      /no such file or folder/,
    );
  });
});

describe('openFrames', () => {
  /** Y4M of pictures that are dark but for one column. */
  const y4m = (parameters: string, columns: readonly number[], bytesPerSample = 1): Buffer => {
    const plane = (column: number): Buffer => {
      const bytes = Buffer.alloc(size.width * size.height * bytesPerSample);
      for (let i = 0; i < size.width * size.height; i++) {
        const value = i % size.width === column ? 200 : 50;
        if (bytesPerSample === 1) bytes[i] = value;
        else bytes.writeUInt16LE(value * 4, 2 * i);
      }
      return bytes;
    };
    const chroma = Buffer.alloc(/Cmono/.test(parameters) ? 0 : 64 * bytesPerSample, 128);
    return Buffer.concat([
      Buffer.from(`YUV4MPEG2 W16 H8 ${parameters}\n`),
      ...columns.flatMap((column) => [Buffer.from('FRAME\n'), plane(column), chroma]),
    ]);
  };
  const write = async (name: string, bytes: Buffer): Promise<string> => {
    await writeFile(join(folder, name), bytes);
    return join(folder, name);
  };
  const fromFile = (frames: string, more: Partial<FrameOptions> = {}): Promise<EventBatch> =>
    simulate({ frames, framesPerSecond: undefined, ...more });

  it('reads Y4M at its own frame rate, of any depth and colour space', async () => {
    const events = await fromFile(await write('a.y4m', y4m('F50:1 C420jpeg', [3, 5, 7])));
    expect(events.length).toBeGreaterThan(0);
    expect(events.sensor).toEqual(size);
    for (let i = 0; i < events.length; i++) {
      // The bright column goes from 3 to 5, and 20 ms later on to 7.
      const brighter = events.tUs[i] < 20_000 ? 5 : 7;
      if (events.tUs[i] !== 20_000) {
        expect(events.polarity[i]).toBe(events.x[i] === brighter ? 1 : 0);
      }
      expect(events.tUs[i]).toBeLessThanOrEqual(40_000);
    }
    const mono = await fromFile(await write('b.y4m', y4m('F50:1 Cmono', [3, 5, 7])));
    expect(mono).toEqual(events);
    const deep = await fromFile(await write('c.y4m', y4m('F50:1 C420p10', [3, 5, 7], 2)));
    expect(deep).toEqual(events);
    const faster = await fromFile(join(folder, 'a.y4m'), { framesPerSecond: 100 });
    expect(Math.max(...faster.tUs)).toBeLessThanOrEqual(20_000);
  });

  it.each([
    ['a wrong first word', 'YUV4 W16 H8\n', /byte 0: expected YUV4MPEG2/],
    ['no size', 'YUV4MPEG2 W16 F1:1\n', /width W and a height H/],
    ['an absurd size', 'YUV4MPEG2 W999999999 H8\n', /from 1 to 16384/],
    ['an unknown colour space', 'YUV4MPEG2 W16 H8 C999\n', /C999, known are .*mono/],
    [
      'another word for a frame',
      'YUV4MPEG2 W16 H8 F1:1\nFRAMES\n',
      /byte 22: expected a line .* FRAME/,
    ],
    [
      'a frame that is cut off',
      'YUV4MPEG2 W16 H8 F1:1\nFRAME\nabc',
      /byte 22: the frame is cut off/,
    ],
    ['no end of the line', 'x'.repeat(10_000), /expected the line YUV4MPEG2/],
  ])('names %s', async (_, text, message) => {
    const bytes = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from(text);
    };
    const all = async (): Promise<void> => {
      const source = await openY4m(bytes(), 'pipe');
      for await (const frame of source.frames(source.size)) expect(frame).toBeUndefined();
    };
    await expect(all()).rejects.toThrow(message);
  });

  it('reads animations with their own delays, and pictures by a pattern', async () => {
    for (const column of [3, 5, 7]) await picture(`frame${column}.png`, column);
    await picture('other.png', 1);
    const pattern = join(folder, 'frame?.png');
    const pages = await Promise.all(
      [3, 5, 7].map((column) =>
        sharp(join(folder, `frame${column}.png`))
          .raw()
          .toBuffer(),
      ),
    );
    const animated = join(folder, 'moves.webp');
    const raw = { width: 16, height: 24, channels: 3, pageHeight: 8 } as const;
    await sharp(Buffer.concat(pages), { raw })
      .webp({ lossless: true, delay: [10, 30, 10], loop: 0 })
      .toFile(animated);
    const events = await fromFile(animated);
    expect(new Set(events.x)).toEqual(new Set([3, 5, 7]));
    const late = events.x.findIndex((x) => x === 7);
    expect(events.tUs[late]).toBeGreaterThanOrEqual(10_000);
    expect(Math.max(...events.tUs)).toBeGreaterThan(20_000);
    const fixed = { framesPerSecond: 100 };
    expect(await fromFile(animated, fixed)).toEqual(await fromFile(pattern, fixed));
    await expect(fromFile(join(folder, 'frame3.png'))).rejects.toThrow(
      /one picture, expected a video/,
    );
    await expect(fromFile(pattern)).rejects.toThrow(
      /framesPerSecond: does not say how many frames/,
    );
  });

  it('says that a video needs ffmpeg where there is none', async () => {
    const video = await write('a.mp4', Buffer.from('no y4m'));
    const source = openFrames(video, { ffmpeg: join(folder, 'no-ffmpeg') });
    await expect(source).rejects.toMatchObject({ kind: 'environment' });
    await expect(source).rejects.toThrow(/no-ffmpeg, which cannot be started; install it/);
  });
});
