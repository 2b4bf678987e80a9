import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { confusionPicture } from '../../models/evaluation/confusionPicture.js';
import { fittedTextMask, textMask } from '../../engine/support/textMask.js';

interface Picture {
  width: number;
  height: number;
  data: Buffer;
}

async function decoded(png: Buffer): Promise<Picture> {
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
  expect(info.channels).toBe(3);
  return { width: info.width, height: info.height, data };
}

type Box = readonly [left: number, top: number, right: number, bottom: number];

/** How dark each column of a box is, 0 for white. */
function inkProfile({ width, data }: Picture, [left, top, right, bottom]: Box): number[] {
  return Array.from({ length: right - left }, (_, column) => {
    let ink = 0;
    for (let y = top; y < bottom; y++) ink += 255 - data[(y * width + left + column) * 3];
    return ink;
  });
}

function correlation(a: readonly number[], b: readonly number[]): number {
  const centred = (values: readonly number[]): number[] => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => value - mean);
  };
  const dot = (x: readonly number[], y: readonly number[]): number =>
    x.reduce((sum, value, i) => sum + value * y[i], 0);
  const [x, y] = [centred(a), centred(b)];
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

const small = {
  matrix: [
    [9, 1],
    [0, 7],
  ],
  classes: ['left', 'right'],
  title: 'Two gestures',
};

describe('confusionPicture', () => {
  it('is a PNG that grows with the classes and their names', async () => {
    const png = await confusionPicture(small);
    expect(png.subarray(1, 4).toString()).toBe('PNG');
    const two = await decoded(png);
    const named = await decoded(
      await confusionPicture({ ...small, classes: ['left', 'right hand, clockwise'] }),
    );
    expect(named.width).toBeGreaterThan(two.width);
    expect(named.height).toBeGreaterThan(two.height);
  });

  it('bounds the room of names, however long, and of 30 classes', async () => {
    const classes = Array.from({ length: 30 }, (_, i) => `${i} ${'very '.repeat(50)} long`);
    const matrix = classes.map((_, t) => classes.map((__, p) => (t === p ? 100 : (t * p) % 3)));
    const { width, height } = await decoded(
      await confusionPicture({ matrix, classes, title: 'long '.repeat(100) }),
    );
    expect(width).toBeLessThan(2000);
    expect(height).toBeLessThan(2000);
  });

  it('colours cells by the share of their row, rows being true classes', async () => {
    const { width, height, data } = await decoded(
      await confusionPicture({
        matrix: [
          [0, 1000],
          [5, 5],
        ],
        classes: ['a', 'b'],
        title: '',
      }),
    );
    const countOf = (colour: number[]): number => {
      let count = 0;
      for (let at = 0; at < data.length; at += 3) {
        if (colour.every((value, i) => data[at + i] === value)) count++;
      }
      return count;
    };
    const paperOf = (share: number[]): number => countOf(share) / (width * height);
    // One full cell, one empty, two of a half; each is over 5 % of the picture, most of it paper.
    expect(paperOf([8, 48, 107])).toBeGreaterThan(0.05);
    expect(paperOf([247, 251, 255])).toBeGreaterThan(0.05);
    expect(paperOf([107, 174, 214])).toBeGreaterThan(0.1);
    // The empty cell is the upper left one, so its paper is met first.
    const first = (colour: number[]): number => {
      for (let at = 0; at < data.length; at += 3) {
        if (colour.every((value, i) => data[at + i] === value)) return at;
      }
      return Infinity;
    };
    expect(first([247, 251, 255])).toBeLessThan(first([107, 174, 214]));
  });

  it('takes names that are markup, empty or of other scripts', async () => {
    const classes = ['<b> & "c"', '', 'שלום', 'two\nlines \u0000', '\ud800'];
    const matrix = classes.map(() => classes.map(() => 1));
    await expect(confusionPicture({ matrix, classes, title: '<i>' })).resolves.toBeInstanceOf(
      Buffer,
    );
  });

  it('refuses a matrix that does not fit the names', async () => {
    await expect(confusionPicture({ ...small, classes: ['left'] })).rejects.toThrow(RangeError);
    await expect(confusionPicture({ matrix: [], classes: [], title: '' })).rejects.toThrow(
      RangeError,
    );
    await expect(confusionPicture({ ...small, matrix: [[1, 2], [3]] })).rejects.toThrow(RangeError);
  });
});

describe('textMask', () => {
  it('cuts the ruler off and gives every text of a size the same middle', async () => {
    const masks = await Promise.all(['on', 'pig', 'I', '38'].map((text) => textMask(text, 20)));
    expect(new Set(masks.map(({ middle }) => middle)).size).toBe(1);
    // Nothing but the text: "I" is one stroke, and reaches neither the top nor the bottom row.
    const { width, height, coverage } = masks[2];
    expect(width).toBeLessThanOrEqual(4);
    expect(Math.max(...coverage.subarray((height - 1) * width))).toBe(0);
  });

  it('shortens in the middle', async () => {
    const full = await textMask('right arm clockwise', 16);
    expect(await fittedTextMask('right arm clockwise', 16, full.width)).toEqual(full);
    const shortened = await fittedTextMask('right arm clockwise', 16, 100);
    expect(shortened.width).toBeLessThanOrEqual(100);
    expect(shortened.width).toBeGreaterThan(60);
  });
});

describe('on a machine without fonts', () => {
  let folder: string;
  beforeAll(() => {
    // The module, compiled beside a link to the packages, so that a bare node process can run it.
    folder = mkdtempSync(join(tmpdir(), 'saccade-nofonts-'));
    const root = resolve(import.meta.dirname, '../..');
    const entry = join(root, 'models/evaluation/confusionPicture.ts');
    ts.createProgram([entry], {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.NodeNext,
      noCheck: true,
      types: [],
      rootDir: root,
      outDir: folder,
    }).emit();
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    mkdirSync(join(folder, 'empty'));
    writeFileSync(
      join(folder, 'fonts.conf'),
      `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><cachedir>${join(folder, 'empty')}</cachedir></fontconfig>`,
    );
    writeFileSync(
      join(folder, 'draw.js'),
      `import { writeFileSync } from 'node:fs';
       import { confusionPicture } from './models/evaluation/confusionPicture.js';
       writeFileSync('picture.png', await confusionPicture(JSON.parse(process.argv[2])));`,
    );
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([
    ['an empty configuration', () => ({ FONTCONFIG_FILE: join(folder, 'fonts.conf') })],
    ['no configuration', () => ({ FONTCONFIG_PATH: join(folder, 'empty') })],
  ])('draws its text with %s', async (_name, environment) => {
    execFileSync(process.execPath, ['draw.js', JSON.stringify(small)], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: join(folder, 'empty'), ...environment() },
      stdio: 'pipe',
    });
    const picture = await decoded(await sharp(join(folder, 'picture.png')).toBuffer());
    const here = await decoded(await confusionPicture(small));
    const blank = await decoded(await confusionPicture({ ...small, title: '', classes: ['', ''] }));
    // The rows of the title, which hold nothing else. Smoothing is the machine's choice, so pixels may
    // differ; the letters' strokes still lie in the same columns, unlike boxes or another font's.
    const title: Box = [0, 0, 300, 60];
    expect(Math.max(...inkProfile(blank, title))).toBe(0);
    expect(correlation(inkProfile(picture, title), inkProfile(here, title))).toBeGreaterThan(0.9);
    const rowNames: Box = [55, 80, 105, 270];
    const namesAgree = correlation(inkProfile(picture, rowNames), inkProfile(here, rowNames));
    expect(namesAgree).toBeGreaterThan(0.9);
  });
});
