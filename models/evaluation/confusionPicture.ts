import sharp from 'sharp';
import type { ConfusionMatrix } from './metrics.js';
import { fittedTextMask, textMask, type TextMask } from './textMask.js';

export interface ConfusionPicture {
  readonly matrix: ConfusionMatrix;
  /** Class names, as many as the matrix has rows; long ones are shortened. */
  readonly classes: readonly string[];
  readonly title: string;
}

type Colour = readonly [red: number, green: number, blue: number];

const white: Colour = [255, 255, 255];
const ink: Colour = [20, 28, 40];
const faint: Colour = [165, 175, 188];
const gridLine: Colour = [214, 221, 229];

/** ColorBrewer's "Blues", from a share of 0 to a share of 1. */
const shareColours: readonly Colour[] = [
  [247, 251, 255],
  [222, 235, 247],
  [198, 219, 239],
  [158, 202, 225],
  [107, 174, 214],
  [66, 146, 198],
  [33, 113, 181],
  [8, 81, 156],
  [8, 48, 107],
];

// Sizes in pixels.
const margin = 28;
const gap = 10;
const titleSize = 22;
const captionSize = 18;
const labelSize = 16;
const maxLabelWidth = 300;
/** A title longer than this and wider than the rest is shortened. */
const maxTitleWidth = 900;
const colourBarWidth = 18;

/**
 * The confusion matrix as a PNG: rows are true classes, columns predictions, each cell shows its count
 * and is coloured by its share of the row. Needs no font on the machine.
 *
 * @throws RangeError where the matrix is empty, not square or does not fit the names.
 */
export async function confusionPicture({
  matrix,
  classes,
  title,
}: ConfusionPicture): Promise<Buffer> {
  const count = classes.length;
  if (count === 0 || matrix.length !== count || matrix.some((row) => row.length !== count)) {
    throw new RangeError(`expected a matrix of ${count} x ${count}, one row for each class name`);
  }

  const counts = await countMasks(matrix);
  const widestCount = Math.max(...[...counts.values()].map(({ width }) => width));
  const cell = Math.max(cellSize(count), widestCount + 10);
  const labels: TextMask[] = [];
  for (const name of classes) labels.push(await fittedTextMask(name, labelSize, maxLabelWidth));
  const labelWidth = Math.max(...labels.map(({ width }) => width));
  const trueCaption = await textMask('true', captionSize);
  const predictedCaption = await textMask('predicted', captionSize);
  const shareCaption = await textMask('share of the row', labelSize);
  const shareMarks = [
    { share: 1, mask: await textMask('100 %', labelSize) },
    { share: 0.5, mask: await textMask('50 %', labelSize) },
    { share: 0, mask: await textMask('0 %', labelSize) },
  ];

  const grid = count * cell;
  const gridX = margin + captionSize + gap * 2 + labelWidth + gap;
  const gridY = margin + titleSize + gap * 2;
  const colourBarX = gridX + grid + gap * 3;
  const shareCaptionX =
    colourBarX + colourBarWidth + gap * 2 + shareMarks[0].mask.width + labelSize / 2;
  const contentRight = shareCaptionX + labelSize / 2;
  const titleMask = await fittedTextMask(
    title,
    titleSize,
    Math.max(contentRight - margin, maxTitleWidth),
  );
  const width = Math.max(contentRight, margin + titleMask.width) + margin;
  const captionY = gridY + grid + gap + labelWidth + gap * 2 + captionSize / 2;
  const canvas = createCanvas(width, captionY + captionSize / 2 + margin);

  drawText(canvas, titleMask, margin, margin + titleSize / 2, ink, 'start');

  fill(canvas, gridX - 1, gridY - 1, grid + 1, grid + 1, gridLine);
  for (const [row, values] of matrix.entries()) {
    const total = values.reduce((sum, value) => sum + value, 0);
    for (const [column, value] of values.entries()) {
      const colour = shareColour(total === 0 ? 0 : value / total);
      const x = gridX + column * cell;
      const y = gridY + row * cell;
      fill(canvas, x, y, cell - 1, cell - 1, colour);
      const textColour = value === 0 ? faint : readableOn(colour);
      drawText(canvas, counts.get(value)!, x + cell / 2, y + cell / 2, textColour, 'centre');
    }
  }

  for (const [i, label] of labels.entries()) {
    const middle = (i + 0.5) * cell;
    drawText(canvas, label, gridX - gap, gridY + middle, ink, 'end');
    drawRotated(canvas, label, gridX + middle, gridY + grid + gap, ink, 'end');
  }
  drawRotated(canvas, trueCaption, margin + captionSize / 2, gridY + grid / 2, ink, 'centre');
  drawText(canvas, predictedCaption, gridX + grid / 2, captionY, ink, 'centre');

  for (let y = 0; y < grid; y++) {
    fill(canvas, colourBarX, gridY + y, colourBarWidth, 1, shareColour(1 - y / (grid - 1)));
  }
  for (const { share, mask } of shareMarks) {
    // The marks at the ends stay inside of the bar's height.
    const y = gridY + labelSize / 2 + (1 - share) * (grid - labelSize);
    drawText(canvas, mask, colourBarX + colourBarWidth + gap, y, ink, 'start');
  }
  drawRotated(canvas, shareCaption, shareCaptionX, gridY + grid / 2, ink, 'centre');

  return sharp(canvas.pixels, { raw: { width: canvas.width, height: canvas.height, channels: 3 } })
    .png()
    .toBuffer();
}

/** Few classes get large cells, many still readable ones. */
function cellSize(classCount: number): number {
  if (classCount <= 4) return 110;
  if (classCount <= 12) return 64;
  return classCount <= 20 ? 52 : 42;
}

/** Each count that occurs, set once. */
async function countMasks(matrix: ConfusionMatrix): Promise<Map<number, TextMask>> {
  const size = matrix.length <= 4 ? 22 : matrix.length <= 20 ? 16 : 14;
  const masks = new Map<number, TextMask>();
  for (const value of new Set(matrix.flat())) masks.set(value, await textMask(`${value}`, size));
  return masks;
}

function shareColour(share: number): Colour {
  const position = Math.min(1, Math.max(0, share)) * (shareColours.length - 1);
  const below = Math.min(Math.floor(position), shareColours.length - 2);
  const part = position - below;
  const [from, to] = [shareColours[below], shareColours[below + 1]];
  return [0, 1, 2].map((i) => Math.round(from[i] + (to[i] - from[i]) * part)) as unknown as Colour;
}

/** Of dark and white ink the one with more contrast (WCAG 2: ratio of relative luminances + 0.05). */
function readableOn(background: Colour): Colour {
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

interface Canvas {
  readonly width: number;
  readonly height: number;
  /** RGB, row-major. */
  readonly pixels: Uint8Array;
}

type Anchor = 'start' | 'centre' | 'end';

function createCanvas(width: number, height: number): Canvas {
  return { width, height, pixels: new Uint8Array(width * height * 3).fill(255) };
}

function fill(
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

/** Draws text along the row `y`, its start, centre or end at `x`. */
function drawText(
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
function drawRotated(
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
