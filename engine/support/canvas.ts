import sharp from 'sharp';
import type { TextMask } from './textMask.js';

/** sRGB, 0 … 255 each. */
export type Colour = readonly [red: number, green: number, blue: number];

export const white: Colour = [255, 255, 255];
/** Near black, for text. */
export const ink: Colour = [20, 28, 40];

/** A colour on the way through `colours`, from a share of 0 to a share of 1. */
export function blendColours(colours: readonly Colour[], share: number): Colour {
  const position = Math.min(1, Math.max(0, share)) * (colours.length - 1);
  const below = Math.min(Math.floor(position), colours.length - 2);
  const part = position - below;
  const [from, to] = [colours[below], colours[below + 1]];
  return [0, 1, 2].map((i) => Math.round(from[i] + (to[i] - from[i]) * part)) as unknown as Colour;
}

/** Of dark and white ink the one with more contrast (WCAG 2: ratio of relative luminances + 0.05). */
export function readableOn(background: Colour): Colour {
  const paper = luminance(background) + 0.05;
  return paper / (luminance(ink) + 0.05) >= 1.05 / paper ? ink : white;
}

function luminance(colour: Colour): number {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** A picture that is drawn on. */
export interface Canvas {
  readonly width: number;
  readonly height: number;
  /** RGB, row-major. */
  readonly pixels: Uint8Array;
}

/** Which point of a text lies at the place that is given. */
export type Anchor = 'start' | 'centre' | 'end';

/** A canvas as PNG. */
export function encodePng({ width, height, pixels }: Canvas): Promise<Buffer> {
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

/** A white canvas. */
export function createCanvas(width: number, height: number): Canvas {
  return { width, height, pixels: new Uint8Array(width * height * 3).fill(255) };
}

/** Fills a rectangle. */
export function fill(
  canvas: Canvas,
  x: number,
  y: number,
  width: number,
  height: number,
  colour: Colour,
): void {
  for (let row = y; row < y + height; row++) {
    for (let column = x; column < x + width; column++) {
      canvas.pixels.set(colour, (row * canvas.width + column) * 3);
    }
  }
}

/** Copies a picture; it must fit. */
export function paste(canvas: Canvas, picture: Canvas, x: number, y: number): void {
  const rowLength = picture.width * 3;
  for (let row = 0; row < picture.height; row++) {
    const from = picture.pixels.subarray(row * rowLength, (row + 1) * rowLength);
    canvas.pixels.set(from, ((y + row) * canvas.width + x) * 3);
  }
}

/** Draws text along the row `y`, its start, centre or end at `x`. */
export function drawText(
  canvas: Canvas,
  mask: TextMask,
  x: number,
  y: number,
  colour: Colour,
  anchor: Anchor,
): void {
  const left = Math.round(x - anchorOffset(mask, anchor));
  const top = Math.round(y) - mask.middle;
  for (let row = 0; row < mask.height; row++) {
    for (let column = 0; column < mask.width; column++) {
      blend(canvas, left + column, top + row, mask.coverage[row * mask.width + column], colour);
    }
  }
}

/** Draws text upwards along the column `x` (a quarter turn to the left), its anchor at `y`. */
export function drawRotated(
  canvas: Canvas,
  mask: TextMask,
  x: number,
  y: number,
  colour: Colour,
  anchor: Anchor,
): void {
  const left = Math.round(x) - mask.middle;
  const bottom = Math.round(y + anchorOffset(mask, anchor)) - 1;
  for (let row = 0; row < mask.height; row++) {
    for (let column = 0; column < mask.width; column++) {
      blend(canvas, left + row, bottom - column, mask.coverage[row * mask.width + column], colour);
    }
  }
}

function anchorOffset({ width }: TextMask, anchor: Anchor): number {
  return anchor === 'start' ? 0 : anchor === 'end' ? width : width / 2;
}

function blend(canvas: Canvas, x: number, y: number, coverage: number, colour: Colour): void {
  if (coverage === 0 || x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return;
  const at = (y * canvas.width + x) * 3;
  for (let i = 0; i < 3; i++) {
    const paper = canvas.pixels[at + i];
    canvas.pixels[at + i] = Math.round(paper + ((colour[i] - paper) * coverage) / 255);
  }
}
