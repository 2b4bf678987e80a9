import {
  blendColours,
  type Canvas,
  type Colour,
  createCanvas,
  paste,
  white,
} from '../../engine/support/canvas.js';

/** What a bin of a clip holds: values `[channels, height, width]`, row-major. */
export interface BinShape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Which way is up, and how many pixels of the picture a value gets. */
export interface DrawOptions {
  /** Whether row 0 is the lowest one. */
  readonly flipY?: boolean;
  /** Whether column 0 is the rightmost one. */
  readonly flipX?: boolean;
  /** Pixels of the picture per value, a whole number. Default 1. */
  readonly enlarge?: number;
}

/** How values become colours; one for all pictures that are to be compared. */
export interface ColourScale {
  /** Two polarities in two colours, one signed value on both sides of white, or one from white to dark. */
  readonly kind: 'polarities' | 'signed' | 'sequential';
  /** The magnitude that gets the full colour; above zero. */
  readonly full: number;
}

/** Ends of ColorBrewer's "RdBu". */
export const onColour: Colour = [202, 0, 32];
export const offColour: Colour = [5, 113, 176];
const diverging: readonly Colour[] = [offColour, white, onColour];
/** From ColorBrewer's "Purples". */
const sequential: readonly Colour[] = [white, [158, 154, 200], [63, 0, 125]];

/** Share of the values other than zero that may be above `full`: hot pixels do not make the rest pale. */
const brightShare = 0.01;

/**
 * Chooses colours for clips that belong together.
 *
 * @param full the magnitude of the full colour; by default that which 1 % of the values other than 0 exceed.
 */
export function colourScale(
  clips: readonly Float32Array[],
  { channels }: Pick<BinShape, 'channels'>,
  full?: number,
): ColourScale {
  let signed = false;
  const magnitudes: Float32Array[] = [];
  for (const values of clips) {
    const kept = new Float32Array(values.length);
    let count = 0;
    for (const value of values) {
      if (value < 0) signed = true;
      if (value !== 0 && Number.isFinite(value)) kept[count++] = Math.abs(value);
    }
    magnitudes.push(kept.slice(0, count));
  }
  const kind = signed ? 'signed' : channels === 2 ? 'polarities' : 'sequential';
  return { kind, full: full ?? exceededBy(brightShare, magnitudes) };
}

function exceededBy(share: number, parts: readonly Float32Array[]): number {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  if (all.length === 0) return 1;
  all.sort();
  return all[Math.floor((1 - share) * (all.length - 1))];
}

/** The strength of the colour, 0 … 1, of NaN 0: by the square root, so that single events are seen beside many. */
function strength(value: number, full: number): number {
  return Math.sqrt(Math.min(1, Math.abs(value) / full)) || 0;
}

/** The colour of one value, for pictures of one channel and for the key. */
export function colourOf(value: number, { kind, full }: ColourScale): Colour {
  const share = strength(value, full);
  if (kind !== 'signed') return blendColours(sequential, share);
  return blendColours(diverging, (1 + (value < 0 ? -share : share)) / 2);
}

/** The colour where OFF and ON (channels 0 and 1) have these values: inks on white paper, so both give black. */
export function colourOfPolarities(off: number, on: number, { full }: ColourScale): Colour {
  const offShare = strength(off, full);
  const onShare = strength(on, full);
  return [0, 1, 2].map((i) => {
    const offInk = 1 - offShare * (1 - offColour[i] / 255);
    const onInk = 1 - onShare * (1 - onColour[i] / 255);
    return Math.round(255 * offInk * onInk);
  }) as unknown as Colour;
}

/**
 * Draws one bin of any representation. Two channels of values that are never negative are OFF and ON; of
 * others each channel is a picture, side by side in a grid of about as many rows as columns.
 */
export function drawBin(
  values: Float32Array,
  shape: BinShape,
  scale: ColourScale,
  options: DrawOptions = {},
): Canvas {
  const { channels, height, width } = shape;
  const plane = height * width;
  if (scale.kind === 'polarities') {
    return drawPlane(shape, options, (i) =>
      colourOfPolarities(values[i], values[plane + i], scale),
    );
  }
  const planes = Array.from({ length: channels }, (_, channel) =>
    drawPlane(shape, options, (i) => colourOf(values[channel * plane + i], scale)),
  );
  return planes.length === 1 ? planes[0] : sideBySide(planes);
}

/** Pixels between the channels of a picture. */
const channelGap = 2;

function sideBySide(planes: readonly Canvas[]): Canvas {
  const columns = Math.ceil(Math.sqrt(planes.length));
  const rows = Math.ceil(planes.length / columns);
  const { width, height } = planes[0];
  const grid = createCanvas(
    columns * (width + channelGap) - channelGap,
    rows * (height + channelGap) - channelGap,
  );
  grid.pixels.fill(128);
  for (const [i, plane] of planes.entries()) {
    const row = Math.floor(i / columns);
    paste(grid, plane, (i - row * columns) * (width + channelGap), row * (height + channelGap));
  }
  return grid;
}

function drawPlane(
  { height, width }: BinShape,
  { flipX = false, flipY = false, enlarge = 1 }: DrawOptions,
  colourAt: (index: number) => Colour,
): Canvas {
  const canvas = createCanvas(width * enlarge, height * enlarge);
  const { pixels } = canvas;
  for (let row = 0; row < height; row++) {
    const from = (flipY ? height - 1 - row : row) * width;
    const rowStart = row * enlarge * canvas.width * 3;
    for (let column = 0; column < width; column++) {
      const colour = colourAt(from + (flipX ? width - 1 - column : column));
      for (let k = 0; k < enlarge; k++) pixels.set(colour, rowStart + (column * enlarge + k) * 3);
    }
    const line = pixels.subarray(rowStart, rowStart + canvas.width * 3);
    for (let k = 1; k < enlarge; k++) pixels.set(line, rowStart + k * canvas.width * 3);
  }
  return canvas;
}
