import { colour } from './colours.js';

/**
 * Draws which neurons fired in each bin: bins from left to right, the newest at the right edge, neurons from top to
 * bottom.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {readonly (Uint8Array | undefined)[]} columns eight neurons in a byte, the first in the lowest bit.
 * @param {number} neurons
 * @param {number} places columns that there is room for.
 */
export function drawRaster(canvas, columns, neurons, places) {
  const scale = devicePixelRatio;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext('2d');
  if (context === null) return;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colour('ink');
  // Where there are fewer pixels than neurons, every second or third one is shown.
  const every = Math.max(1, Math.ceil((neurons * 1.5 * scale) / height));
  const rows = Math.ceil(neurons / every);
  const first = places - columns.length;
  columns.forEach((column, i) => {
    if (column === undefined) return;
    const left = Math.round(((first + i) * width) / places);
    const right = Math.round(((first + i + 1) * width) / places);
    for (let row = 0; row < rows; row++) {
      const neuron = row * every;
      if (((column[neuron >> 3] >> (neuron & 7)) & 1) === 0) continue;
      const top = Math.round((row * height) / rows);
      const bottom = Math.round(((row + 1) * height) / rows);
      context.fillRect(
        left,
        top,
        Math.max(1, right - left - (right - left > 3 ? 1 : 0)),
        Math.max(1, bottom - top),
      );
    }
  });
}
