import sharp from 'sharp';
import {
  type Canvas,
  type Colour,
  createCanvas,
  drawText,
  encodePng,
  fill,
  ink,
  paste,
} from '../../engine/support/canvas.js';
import { fittedTextMask, textMask, type TextMask } from '../../engine/support/textMask.js';
import { colourOf, type ColourScale, offColour, onColour } from './drawing.js';

/** A picture and the line below it. */
export interface Tile {
  /** All of a sheet or an animation have the size of the first. */
  readonly picture: Canvas;
  readonly caption: string;
}

export interface SheetOptions {
  readonly title: string;
  /** Tiles in a row. By default about as many as make the sheet twice as wide as high. */
  readonly columns?: number;
  readonly scale: ColourScale;
}

// Sizes in pixels.
const margin = 16;
const gap = 8;
const titleSize = 16;
const captionSize = 13;
const keyWidth = 60;
/** Room for captions below small pictures. */
const minTileWidth = 150;
/** A longer title is shortened where the pictures take less. */
const maxTitleWidth = 640;
const frameColour: Colour = [190, 198, 208];
const faintInk: Colour = [95, 105, 118];

/**
 * A grid of pictures with a title, a line below each and the key of the colours, as PNG.
 *
 * @throws RangeError where there are no tiles.
 */
export async function contactSheet(
  tiles: readonly Tile[],
  { title, columns: given, scale }: SheetOptions,
): Promise<Buffer> {
  const size = tileSize(tiles);
  const cellWidth = size.width + gap;
  const cellHeight = size.height;
  const wide = Math.round(Math.sqrt((2 * tiles.length * cellHeight) / cellWidth));
  const columns = Math.min(tiles.length, Math.max(1, given ?? wide));
  const rows = Math.ceil(tiles.length / columns);
  const gridWidth = columns * cellWidth - gap;
  const titleMask = await fittedTextMask(title, titleSize, Math.max(gridWidth, maxTitleWidth));
  const width = 2 * margin + Math.max(gridWidth, titleMask.width);
  const gridY = margin + titleSize + gap;
  const keyY = gridY + rows * cellHeight + gap / 2;
  const sheet = createCanvas(width, keyY + captionSize + margin);

  drawText(sheet, titleMask, margin, margin + titleSize / 2, ink, 'start');
  for (const [i, tile] of tiles.entries()) {
    const row = Math.floor(i / columns);
    const x = margin + (i - row * columns) * cellWidth;
    await drawTile(sheet, tile, x, gridY + row * cellHeight);
  }
  await drawKey(sheet, scale, margin, keyY + captionSize / 2);
  return encodePng(sheet);
}

/** Of a picture with its frame and its caption. */
function tileSize(tiles: readonly Tile[]): { width: number; height: number } {
  if (tiles.length === 0) throw new RangeError('expected one picture or more');
  const { width, height } = tiles[0].picture;
  return { width: Math.max(width + 2, minTileWidth), height: height + 2 + captionSize + 2 * gap };
}

async function drawTile(canvas: Canvas, tile: Tile, x: number, y: number): Promise<void> {
  const { picture, caption } = tile;
  fill(canvas, x, y, picture.width + 2, picture.height + 2, frameColour);
  paste(canvas, picture, x + 1, y + 1);
  const width = Math.max(picture.width, minTileWidth);
  const mask = await fittedTextMask(caption, captionSize, width);
  drawText(
    canvas,
    mask,
    x + 1,
    y + picture.height + 2 + gap / 2 + captionSize / 2,
    faintInk,
    'start',
  );
}

/** What the colours mean, along the row `y`. */
async function drawKey(canvas: Canvas, scale: ColourScale, x: number, y: number): Promise<void> {
  const full = Number(scale.full.toPrecision(3));
  let right = x;
  const text = (mask: TextMask): void => {
    drawText(canvas, mask, right, y, faintInk, 'start');
    right += mask.width + gap;
  };
  const box = (width: number, colourAt: (share: number) => Colour): void => {
    const top = y - captionSize / 2;
    for (let i = 0; i < width; i++) {
      fill(canvas, right + i, Math.round(top), 1, captionSize, colourAt(i / (width - 1)));
    }
    right += width + gap;
  };
  if (scale.kind === 'polarities') {
    box(captionSize, () => onColour);
    text(await textMask('ON', captionSize));
    box(captionSize, () => offColour);
    text(await textMask('OFF', captionSize));
    text(await textMask(`full at ${full}`, captionSize));
    return;
  }
  const low = scale.kind === 'signed' ? -scale.full : 0;
  text(await textMask(scale.kind === 'signed' ? `−${full}` : '0', captionSize));
  box(keyWidth, (share) => colourOf(low + (scale.full - low) * share, scale));
  text(await textMask(scale.kind === 'signed' ? `+${full}` : `${full}`, captionSize));
}

export interface AnimationOptions {
  readonly format: 'webp' | 'gif';
  /** How long each picture is shown, ms. */
  readonly delaysMs: readonly number[];
}

/**
 * Pictures one after the other, each with its line, in an endless loop: animated WebP (without loss) or GIF.
 *
 * @throws RangeError where there are no tiles.
 */
export async function animation(
  tiles: readonly Tile[],
  { format, delaysMs }: AnimationOptions,
): Promise<Buffer> {
  const { width, height: pageHeight } = tileSize(tiles);
  const pages = createCanvas(width, pageHeight * tiles.length);
  for (const [i, tile] of tiles.entries()) await drawTile(pages, tile, 0, i * pageHeight);
  const { pixels, height } = pages;
  const image = sharp(pixels, {
    raw: { width, height, channels: 3, pageHeight },
    limitInputPixels: false,
  });
  const timing = { loop: 0, delay: [...delaysMs] };
  return format === 'gif'
    ? image.gif(timing).toBuffer()
    : image.webp({ ...timing, lossless: true }).toBuffer();
}
