import {
  blendColours,
  type Colour,
  createCanvas,
  drawRotated,
  drawText,
  encodePng,
  fill,
  ink,
  readableOn,
} from '../../engine/support/canvas.js';
import { fittedTextMask, textMask, type TextMask } from '../../engine/support/textMask.js';
import type { ConfusionMatrix } from './metrics.js';

export interface ConfusionPicture {
  readonly matrix: ConfusionMatrix;
  /** Class names, as many as the matrix has rows; long ones are shortened. */
  readonly classes: readonly string[];
  readonly title: string;
}

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

  return encodePng(canvas);
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
  return blendColours(shareColours, share);
}
