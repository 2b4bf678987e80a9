import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { Workplace } from './cliProcess.js';

const place = new Workplace();
const data = process.env.SACCADE_TEST_DATA;
/** The command runs in a folder of its own. */
const recordings = data === undefined ? undefined : resolve(data);

beforeAll(async () => {
  // A dot that goes round for 3 s.
  const lines = Array.from({ length: 3000 }, (_, i) => {
    const angle = (i / 3000) * 2 * Math.PI;
    const x = Math.round(16 + 10 * Math.cos(angle));
    return `${i * 1000},${x},${Math.round(16 + 10 * Math.sin(angle))},${i % 2}`;
  });
  await writeFile(place.path('round.csv'), `t,x,y,p\n${lines.join('\n')}\n`);
});

describe('saccade view', () => {
  it('draws a contact strip, spread over the recording', async () => {
    const made = await place.json('view', 'round.csv', '--sensor', '32x32');
    expect(made).toMatchObject({
      file: 'round.csv.png',
      as: 'histogram',
      windows: 24,
      stride: 124_959, // 2,999,001 µs in 24 parts
      cut: false,
      damageCount: 0,
    });
    const { format, width, height } = await sharp(place.path('round.csv.png')).metadata();
    expect(format).toBe('png');
    expect(Math.min(width, height)).toBeGreaterThan(200);
  });

  it.each(['spikes', 'histogram', 'voxel'])('draws %s, also in bins', async (name) => {
    const args = ['--as', name, '--bins', '3', '--windows', '4', '--count', '100'];
    expect(await place.json('view', 'round.csv', `${name}.png`, ...args)).toMatchObject({
      as: name,
      windows: 4,
      bins: 3,
      stride: 750,
    });
  });

  it('animates, at the pace that is asked for, and says what it left out', async () => {
    const args = ['view', 'round.csv', 'round.webp', '--sensor', '32x32'];
    const { exitCode, stderr } = await place.run([
      ...args,
      ...['--window', '100000', '--windows', '10', '--speed', '2', '--scale', '1'],
    ]);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/round\.csv goes on behind them; --windows/);
    const { pages, delay } = await sharp(place.path('round.webp'), { animated: true }).metadata();
    expect([pages, delay]).toEqual([10, Array(10).fill(50)]);
  });

  it('shows a part of the time, scaled, mirrored, from standard input', async () => {
    const input = await readFile(place.path('round.csv'));
    const draw = async (name: string, ...more: string[]): Promise<Buffer> => {
      const { exitCode, stderr } = await place.run(
        [
          ...['view', '-', name, '--sensor', '32x32', '--from', '0', '--to', '300000'],
          ...['--window', '300000', '--scale', '4', ...more],
        ],
        { input },
      );
      expect(exitCode, stderr).toBe(0);
      // The picture, 128x128, below the title and in the frame of the strip.
      const [left, top] = [17, 41];
      return sharp(place.path(name))
        .extract({ left, top, width: 128, height: 128 })
        .raw()
        .toBuffer();
    };
    const plain = await draw('plain.png');
    const flipped = await draw('flipped.png', '--flip', 'y');
    const raw = { width: 128, height: 128, channels: 3 } as const;
    expect(flipped.equals(plain)).toBe(false);
    expect(await sharp(flipped, { raw }).flip().raw().toBuffer()).toEqual(plain);
  });

  it('refuses what cannot be drawn, and leaves nothing behind', async () => {
    const before = await readdir(place.folder);
    await writeFile(place.path('none.csv'), 't,x,y,p\n');
    await place.fails('usage', ['view', 'round.csv', 'x.bmp'], [/x\.bmp/, /\.webp/]);
    await place.fails('usage', ['view', 'round.csv', '--as', 'cubist'], [/cubist/, /histogram/]);
    await place.fails('usage', ['view', 'round.csv', '--window', '5', '--count', '5'], [/--count/]);
    await place.fails('input', ['view', 'gone.es'], [/gone\.es/, /no such file/]);
    await place.fails('input', ['view', 'none.csv', '--sensor', '8x8'], [/none\.csv/, /no events/]);
    expect((await readdir(place.folder)).sort()).toEqual([...before, 'none.csv'].sort());
  });

  it.skipIf(recordings === undefined)('draws real recordings (SACCADE_TEST_DATA)', async () => {
    const file = join(recordings!, 'gestures/arm_roll.bs2');
    expect(await place.json('view', file)).toMatchObject({ file: 'arm_roll.bs2.png', windows: 24 });
    expect(await place.json('view', file, 'roll.gif', '--windows', '5')).toMatchObject({
      cut: true,
    });
  });
});
