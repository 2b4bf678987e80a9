import sharp, { type OverlayOptions } from 'sharp';
import { fittedTextMask, type TextMask } from '../engine/support/textMask.js';
import { rocCurve } from '../preprocess/denoising/metrics.js';
import type { DenoiseCurve } from './benchDenoise.js';

// Sizes in pixels.
const side = 440;
const left = 76;
const top = 76;
const legendX = left + side + 28;
const width = legendX + 380;
const height = top + side + 64;

/** Okabe and Ito's colours, which the colour-blind can tell apart. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];

/** ROC curves of denoising filters as a PNG: signal kept over noise kept. Needs no font on the machine. */
export async function rocPicture(
  title: string,
  curves: readonly Pick<DenoiseCurve, 'filter' | 'swept' | 'auc' | 'points'>[],
): Promise<Buffer> {
  const shapes = curves.map(({ points }, i) => curveShape(points, colours[i % colours.length]));
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const grid = ticks.map(
    (at) =>
      `<path d="M${xOf(at)} ${yOf(0)}V${yOf(1)}M${xOf(0)} ${yOf(at)}H${xOf(1)}" stroke="#d6dde5"/>`,
  );
  const keys = curves.map((_, i) => {
    const y = legendY(i) + 8;
    const colour = colours[i % colours.length];
    return `<path d="M${legendX} ${y}h24" stroke="${colour}" stroke-width="3"/>`;
  });
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" fill="none">` +
    `<rect width="${width}" height="${height}" fill="white"/>${grid.join('')}` +
    `<path d="M${xOf(0)} ${yOf(0)}L${xOf(1)} ${yOf(1)}" stroke="#8795a5" stroke-dasharray="5 5"/>` +
    `${shapes.join('')}${keys.join('')}</svg>`;

  const texts = [
    text(title, 18, left, 26),
    text('noise kept', 15, left + side / 2, top + side + 46, 0.5),
    text('signal kept', 15, left - 62, top - 16),
    ...ticks.flatMap((at) => [
      text(String(at), 13, xOf(at), yOf(0) + 18, 0.5),
      text(String(at), 13, xOf(0) - 10, yOf(at), 1),
    ]),
    ...curves.flatMap(({ filter, swept, auc }, i) => [
      text(`${filter}, AUC ${auc.toFixed(3)}`, 14, legendX + 34, legendY(i) + 8),
      text(`over ${swept}`, 12, legendX + 34, legendY(i) + 28),
    ]),
  ];
  return sharp(Buffer.from(svg))
    .composite(await Promise.all(texts))
    .png()
    .toBuffer();
}

const xOf = (noise: number): number => left + noise * side;
const yOf = (signal: number): number => top + (1 - signal) * side;
const legendY = (i: number): number => top + i * 54;

function curveShape(points: DenoiseCurve['points'], colour: string): string {
  const inner = points.map(({ kept }) => ({ noise: kept.noise ?? 0, signal: kept.signal ?? 0 }));
  const place = ({ noise, signal }: { noise: number; signal: number }): string =>
    `${xOf(noise).toFixed(1)} ${yOf(signal).toFixed(1)}`;
  const line = `<path d="M${rocCurve(inner).map(place).join('L')}" stroke="${colour}" stroke-width="2"/>`;
  const dots = inner.map(
    ({ noise, signal }) =>
      `<circle cx="${xOf(noise)}" cy="${yOf(signal)}" r="3" fill="${colour}"/>`,
  );
  return line + dots.join('');
}

/** A line of text in the middle of row `y`; `anchor` is 0 where `x` is its start, 1 where it is its end. */
async function text(
  line: string,
  size: number,
  x: number,
  y: number,
  anchor = 0,
): Promise<OverlayOptions> {
  const mask = await fittedTextMask(line, size, width - 40);
  return {
    input: inked(mask),
    raw: { width: mask.width, height: mask.height, channels: 4 },
    left: Math.max(0, Math.round(x - anchor * mask.width)),
    top: Math.max(0, Math.round(y) - mask.middle),
  };
}

function inked({ width: columns, height: rows, coverage }: TextMask): Buffer {
  const pixels = Buffer.alloc(columns * rows * 4);
  coverage.forEach((alpha, i) => pixels.set([20, 28, 40, alpha], i * 4));
  return pixels;
}
