import { rgb } from './colours.js';

/**
 * @typedef {object} EventImage counts of a bin's events at each pixel, row by row
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} on
 * @property {Uint8Array} off
 */

/**
 * Draws the events of a bin: pixels that became brighter in one colour, darker ones in the other, both where they
 * mix; the more events, the stronger, up to those of the busiest hundredth of pixels.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {EventImage} image
 */
export function drawEvents(canvas, { width, height, on, off }) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext('2d');
  if (context === null) return;
  const picture = context.createImageData(width, height);
  const { data } = picture;
  const [ground, onColour, offColour] = [rgb('scene'), rgb('on'), rgb('off')];
  const top = Math.max(1, strongCount(on, off));
  for (let i = 0; i < width * height; i++) {
    const total = on[i] + off[i];
    // One event must be seen, too.
    const strength = total === 0 ? 0 : 0.35 + 0.65 * Math.min(1, total / top);
    for (let c = 0; c < 3; c++) {
      const full = total === 0 ? 0 : (on[i] * onColour[c] + off[i] * offColour[c]) / total;
      data[4 * i + c] = ground[c] + strength * (full - ground[c]);
    }
    data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** The count that 99 % of the pixels with events stay below. @param {Uint8Array} on @param {Uint8Array} off */
function strongCount(on, off) {
  const pixels = new Uint32Array(511);
  let busy = 0;
  for (let i = 0; i < on.length; i++) {
    const total = on[i] + off[i];
    if (total === 0) continue;
    pixels[total]++;
    busy++;
  }
  let above = 0;
  for (let total = pixels.length - 1; total > 0; total--) {
    above += pixels[total];
    if (above > busy / 100) return total;
  }
  return 1;
}
