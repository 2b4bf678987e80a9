import { createRequire } from 'node:module';
import sharp from 'sharp';

/** A line of text as coverage: 0 (paper) … 255 (ink), row-major. */
export interface TextMask {
  readonly width: number;
  readonly height: number;
  /** The row that looks like the middle of the line; the same for every text of a size. */
  readonly middle: number;
  readonly coverage: Uint8Array;
}

/** The font comes with the package: the machine may have none. */
const fontFile = createRequire(import.meta.url).resolve('dejavu-fonts-ttf/ttf/DejaVuSans.ttf');

/**
 * The pixels are cut to the ink, which is not the same height for "on" and "pig". So a bar is set behind
 * the text, used as the ruler that shows where the line lies, and cut off again. The left-to-right marks
 * keep it on the right after Arabic or Hebrew.
 */
const leftToRight = '\u200e';
const ruler = ' |';

/** Half-way up the lower case is a little below half of the bar's height, half-way up digits above. */
const middleShare = 0.45;

/**
 * Sets one line of text.
 *
 * @param size pixels per em.
 */
export async function textMask(text: string, size: number): Promise<TextMask> {
  const { data, info } = await sharp({
    text: {
      text: `${leftToRight}${escapeMarkup(oneLine(text))}${leftToRight}${ruler}`,
      font: `DejaVu Sans ${size}`,
      fontfile: fontFile,
      dpi: 72,
    },
  })
    .extractChannel(0)
    .raw()
    .toBuffer({ resolveWithObject: true });

  const inked = (x: number): boolean => {
    for (let y = 0; y < info.height; y++) if (data[y * info.width + x] > 0) return true;
    return false;
  };
  let barX = info.width - 1;
  while (barX > 0 && inked(barX - 1)) barX--;
  let width = barX;
  while (width > 0 && !inked(width - 1)) width--;

  const barRows = Array.from({ length: info.height }, (_, y) => y).filter(
    (y) => data[y * info.width + info.width - 1] > 0 || data[y * info.width + barX] > 0,
  );
  const top = barRows[0] ?? 0;
  const bottom = barRows.at(-1) ?? info.height - 1;

  const coverage = new Uint8Array(width * info.height);
  for (let y = 0; y < info.height; y++) {
    coverage.set(data.subarray(y * info.width, y * info.width + width), y * width);
  }
  const middle = Math.round(top + (bottom + 1 - top) * middleShare);
  return { width, height: info.height, middle, coverage };
}

/**
 * Sets one line of text within `maxWidth` pixels: what is too much gives way to "…" in the middle,
 * because long class names often share their beginning.
 */
export async function fittedTextMask(
  text: string,
  size: number,
  maxWidth: number,
): Promise<TextMask> {
  const characters = [...oneLine(text)];
  let mask = await textMask(text, size);
  let kept = characters.length;
  while (mask.width > maxWidth && kept > 1) {
    kept = Math.max(1, Math.min(kept - 1, Math.floor((kept * maxWidth) / mask.width)));
    const head = Math.ceil(kept / 2);
    const tail = characters.slice(characters.length - (kept - head));
    mask = await textMask([...characters.slice(0, head), '…', ...tail].join(''), size);
  }
  return mask;
}

/** Control characters, line ends and halves of surrogate pairs have no place in a line. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\s]+/gu, ' ').trim();
}

/** The text is read as Pango markup. */
function escapeMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
