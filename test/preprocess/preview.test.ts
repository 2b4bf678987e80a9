import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { Canvas } from '../../engine/support/canvas.js';
import { decodeStream, type Recording } from '../../ingest/recording.js';
import {
  animation,
  colourScale,
  contactSheet,
  drawBin,
  previewRecording,
  type PreviewOptions,
} from '../../preprocess/preview/index.js';
import { parseRepresentation, representations } from '../../preprocess/representations/index.js';
import { fittedCalls } from './representationDefinitions.js';

const pixel = ({ width, pixels }: Canvas, x: number, y: number): number[] =>
  Array.from(pixels.subarray((y * width + x) * 3, (y * width + x) * 3 + 3));
const white = [255, 255, 255];
const isRed = ([r, g, b]: number[]): boolean => r > g + 40 && r > b + 40;
const isBlue = ([r, g, b]: number[]): boolean => b > r + 40 && b > g + 20;

/** A recording of the lines `t,x,y,p`. */
function recordingOf(
  rows: readonly (readonly number[])[],
  width = 4,
  height = 3,
): Promise<Recording> {
  const text = `t,x,y,p\n${rows.map((row) => `${row.join()}\n`).join('')}`;
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  };
  return decodeStream(bytes(), { file: 'events', format: 'csv', sensor: { width, height } });
}

const options = {
  representation: parseRepresentation('histogram'),
  window: { kind: 'time', length: 10 },
  stride: 10,
  windows: 100,
  bins: 1,
  width: 4,
  height: 3,
} satisfies PreviewOptions;

describe('drawBin', () => {
  const shape = { channels: 2, height: 2, width: 3 };
  const values = Float32Array.of(0, 5, 0, 0, 0, 5, /* ON */ 0, 0, 5, 0, 0, 5);

  it('shows ON red, OFF blue, both dark, nothing white', () => {
    const scale = colourScale([values], shape);
    expect(scale).toEqual({ kind: 'polarities', full: 5 });
    const picture = drawBin(values, shape, scale);
    expect(pixel(picture, 0, 0)).toEqual(white);
    expect(pixel(picture, 1, 0)).toSatisfy(isBlue);
    expect(pixel(picture, 2, 0)).toSatisfy(isRed);
    expect(Math.max(...pixel(picture, 2, 1))).toBeLessThan(60);
  });

  it('mirrors and enlarges', () => {
    const scale = colourScale([values], shape);
    const plain = drawBin(values, shape, scale);
    const flipped = drawBin(values, shape, scale, { flipX: true, flipY: true, enlarge: 3 });
    expect([flipped.width, flipped.height]).toEqual([9, 6]);
    for (let y = 0; y < 6; y++) {
      for (let x = 0; x < 9; x++) {
        const [plainX, plainY] = [2 - Math.floor(x / 3), 1 - Math.floor(y / 3)];
        expect(pixel(flipped, x, y)).toEqual(pixel(plain, plainX, plainY));
      }
    }
  });

  it('shows signed values on both sides of white, the stronger the further', () => {
    const bin = Float32Array.of(-8, -1, 0, 1, 8);
    const line = { channels: 1, height: 1, width: 5 };
    const scale = colourScale([bin], line, 8);
    const colours = [0, 1, 2, 3, 4].map((x) => pixel(drawBin(bin, line, scale), x, 0));
    expect(scale.kind).toBe('signed');
    expect(colours[2]).toEqual(white);
    expect(colours[0]).toSatisfy(isBlue);
    expect(colours[4]).toSatisfy(isRed);
    expect(colours[1][0]).toBeGreaterThan(colours[0][0]);
    expect(colours[3][1]).toBeGreaterThan(colours[4][1]);
  });

  it('takes any values and channels, also NaN and infinity', () => {
    const sizes = {
      channels: fc.integer({ min: 1, max: 7 }),
      width: fc.integer({ min: 1, max: 4 }),
    };
    fc.assert(
      fc.property(
        fc.record(sizes),
        fc.infiniteStream(fc.float()),
        ({ channels, width }, stream) => {
          const bin = Float32Array.from([...stream.take(channels * width * 2)]);
          const all = { channels, width, height: 2 };
          const scale = colourScale([bin], all);
          expect(scale.full).toBeGreaterThan(0);
          const picture = drawBin(bin, all, scale);
          expect(picture.pixels.length).toBe(picture.width * picture.height * 3);
          expect(picture.width).toBeGreaterThanOrEqual(width);
        },
      ),
    );
  });

  it('is not made pale by a hot pixel', () => {
    const bin = new Float32Array(500).fill(1);
    bin[7] = 1e6;
    expect(colourScale([bin], { channels: 1 }).full).toBe(1);
  });
});

describe('previewRecording', () => {
  it('takes windows one after the other, silence among them', async () => {
    const recording = await recordingOf([
      [100, 0, 0, 1],
      [105, 1, 0, 0],
      [135, 2, 2, 1],
    ]);
    const { frames, shape, cut } = await previewRecording(recording, options);
    expect(shape).toEqual({ channels: 2, height: 3, width: 4 });
    expect(frames.map(({ startUs, events }) => [startUs, events])).toEqual([
      [100, 2],
      [110, 0],
      [120, 0],
      [130, 1],
    ]);
    expect(cut).toBe(false);
    // [channel, row, column]: ON at 0, 0 and OFF at 1, 0.
    expect([frames[0].values[12], frames[0].values[1]]).toEqual([1, 1]);
    expect(frames[1].values.every((value) => value === 0)).toBe(true);
  });

  it('stops behind the last window and says so, however far the time jumps', async () => {
    const recording = await recordingOf([
      [0, 0, 0, 1],
      [1e12, 1, 0, 0],
    ]);
    const { frames, cut } = await previewRecording(recording, { ...options, windows: 5 });
    expect([frames.length, cut]).toEqual([5, true]);
  });

  const calls = representations.map(
    ({ name }) => Object.values(fittedCalls).find((call) => call.startsWith(name)) ?? name,
  );
  it.each(calls)('represents bins as %.20s does', async (call) => {
    // Every pixel fires again within a window, which some representations need.
    const rows = Array.from({ length: 60 }, (_, i) => [i, i % 4, (i % 4) % 3, i % 2]);
    const representation = parseRepresentation(call);
    const { frames, shape } = await previewRecording(await recordingOf(rows), {
      ...options,
      representation,
      bins: 3,
    });
    expect(frames.length).toBe(18);
    const scale = colourScale(
      frames.map(({ values }) => values),
      shape,
    );
    expect(frames.some(({ values }) => values.some((value) => value !== 0))).toBe(true);
    for (const { values } of frames) {
      expect(values.length).toBe(shape.channels * 12);
      drawBin(values, shape, scale);
    }
  });

  it('refuses a recording without events, and more values than memory holds', async () => {
    await expect(previewRecording(await recordingOf([]), options)).rejects.toThrow(/no events/);
    const many = { ...options, windows: 1e6, width: 1280, height: 720 };
    await expect(previewRecording(await recordingOf([]), many)).rejects.toMatchObject({
      kind: 'usage',
    });
  });
});

describe('contactSheet and animation', () => {
  const shape = { channels: 1, height: 20, width: 30 };
  const bins = [0, 1, 2].map((value) => new Float32Array(600).fill(value));
  const scale = colourScale(bins, shape);
  const tiles = bins.map((bin, i) => ({ picture: drawBin(bin, shape, scale), caption: `${i} s` }));

  it('puts the pictures in rows', async () => {
    const sizeOf = async (columns: number): Promise<{ width: number; height: number }> =>
      sharp(await contactSheet(tiles, { title: 'three', columns, scale })).metadata();
    const [row, column] = [await sizeOf(3), await sizeOf(1)];
    expect(row.width).toBeGreaterThan(column.width);
    expect(row.height).toBeLessThan(column.height);
    const png = await contactSheet(tiles, { title: 'three', columns: 3, scale });
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    const dark = Array.from(
      { length: info.width },
      (_, x) => data[(50 * info.width + x) * info.channels + 1],
    ).filter((green) => green === 0);
    // The darkest picture is 30 pixels wide, and stands in the row.
    expect(dark.length).toBe(30);
  });

  it.each(['webp', 'gif'] as const)('moves as %s', async (format) => {
    const bytes = await animation(tiles, { format, delaysMs: [20, 50, 1000] });
    const { pages, pageHeight, delay, loop } = await sharp(bytes, { animated: true }).metadata();
    expect({ pages, delay, loop }).toEqual({ pages: 3, delay: [20, 50, 1000], loop: 0 });
    expect(pageHeight).toBeGreaterThan(20);
  });

  it('refuses to draw nothing', async () => {
    await expect(contactSheet([], { title: '', scale })).rejects.toThrow(RangeError);
    await expect(animation([], { format: 'gif', delaysMs: [] })).rejects.toThrow(RangeError);
  });
});
