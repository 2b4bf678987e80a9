import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { MatrixProducts } from '../matMul.js';
import type { DeviceArray } from '../memory.js';
import { byFeature, piecesOf } from './pieces.js';
import { reduce } from './reduce.js';

const windowTypes = 'i'.repeat(21);
/** Values of what the taps meet that lie in memory at once. */
const mostColumns = 1 << 26;

/** `source/window.cu`, and products. `window` is what `native/src/window.h` reads. */
export function windows(device: Device, products: MatrixProducts): Kernels {
  const { backend } = device;

  /** A convolution as products: their extents, and images that are taken at once. */
  function shapeOf(window: Int32Array) {
    const [batch, inChannels, outChannels] = window;
    const product = (at: number): number => window[at] * window[at + 1] * window[at + 2];
    const [inPixels, outPixels, taps] = [product(3), product(6), product(9)];
    const single = taps === 1 && product(12) === 1 && window[15] + window[16] + window[17] === 0;
    const depth = taps * inChannels;
    const most = Math.max(1, Math.floor(mostColumns / (outPixels * depth)));
    const images = single ? batch : Math.min(batch, most);
    return { batch, inChannels, outChannels, inPixels, outPixels, depth, images, single };
  }
  /** Calls back for some images at a time, with memory for what their taps meet unless that is the input itself. */
  function inGroups(
    window: Int32Array,
    run: (columns: DeviceArray, first: number, images: number, group: Int32Array) => void,
  ): void {
    const { batch, images, outPixels, depth, single } = shapeOf(window);
    backend.scratch(single ? 0 : images * outPixels * depth, (columns) => {
      for (let first = 0; first < batch; first += images) {
        const group = window.slice();
        group[0] = Math.min(images, batch - first);
        run(columns, first, group[0], group);
      }
    });
  }
  function gatherColumns(x: number, to: DeviceArray, group: Int32Array): void {
    const { inChannels, outPixels, depth } = shapeOf(group);
    const four = inChannels % 4 === 0;
    const n = (group[0] * outPixels * depth) / (four ? 4 : 1);
    const name = four ? 'windowColumns4' : 'windowColumns';
    device.walk(device.kernel('window', name, `pp${windowTypes}l`), n, [x, to, ...group, n]);
  }
  const product = (
    [a, b, c]: readonly number[],
    [m, n, k]: readonly number[],
    transposeA: boolean,
    transposeB: boolean,
  ): void =>
    products.run(a, b, c, {
      ...{ batches: 1, aStride: 0, bStride: 0, m, n, k, transposeA, transposeB },
    });

  return {
    convolution(x: DeviceArray, filter: DeviceArray, y: DeviceArray, window: Int32Array): void {
      const { inPixels, outPixels, inChannels, outChannels, depth, single } = shapeOf(window);
      inGroups(window, (columns, first, images, group) => {
        const from = x.pointer + 4 * first * inPixels * inChannels;
        const to = y.pointer + 4 * first * outPixels * outChannels;
        if (!single) gatherColumns(from, columns, group);
        const met = single ? from : columns.pointer;
        const extents = [images * outPixels, outChannels, depth];
        product([met, filter.pointer, to], extents, false, false);
      });
    },
    convolutionInputGradient(
      dy: DeviceArray,
      filter: DeviceArray,
      dx: DeviceArray,
      window: Int32Array,
    ): void {
      const { inPixels, outPixels, inChannels, outChannels, depth, single } = shapeOf(window);
      inGroups(window, (columns, first, images, group) => {
        const from = dy.pointer + 4 * first * outPixels * outChannels;
        const to = dx.pointer + 4 * first * inPixels * inChannels;
        const met = single ? to : columns.pointer;
        const extents = [images * outPixels, depth, outChannels];
        product([from, filter.pointer, met], extents, false, true);
        if (single) return;
        const kernel = device.kernel('window', 'sumColumns', `pp${windowTypes}l`);
        const n = images * inPixels * inChannels;
        device.walk(kernel, n, [columns, to, ...group, n]);
      });
    },
    convolutionFilterGradient(
      x: DeviceArray,
      dy: DeviceArray,
      dFilter: DeviceArray,
      window: Int32Array,
    ): void {
      const { batch, images: step, ...shape } = shapeOf(window);
      const { inPixels, outPixels, inChannels, outChannels, depth, single } = shape;
      const groups = Math.ceil(batch / step);
      backend.scratch(groups > 1 ? groups * dFilter.length : 0, (parts) => {
        inGroups(window, (columns, first, images, group) => {
          const from = x.pointer + 4 * first * inPixels * inChannels;
          const given = dy.pointer + 4 * first * outPixels * outChannels;
          const to =
            groups > 1 ? parts.pointer + 4 * (first / step) * dFilter.length : dFilter.pointer;
          if (!single) gatherColumns(from, columns, group);
          const met = single ? from : columns.pointer;
          product([met, given, to], [depth, outChannels, images * outPixels], true, false);
        });
        if (groups > 1) reduce(device, 'Sum', parts, dFilter, [1, groups, dFilter.length], 1);
      });
    },
    depthwise(
      x: DeviceArray,
      filter: DeviceArray,
      y: DeviceArray,
      window: Int32Array,
      turned: boolean,
    ): void {
      const kernel = device.kernel('window', 'depthwise', `ppp${windowTypes}il`);
      device.walk(kernel, y.length, [x, filter, y, ...window, Number(turned), y.length]);
    },
    depthwiseFilterGradient(
      x: DeviceArray,
      dy: DeviceArray,
      dFilter: DeviceArray,
      window: Int32Array,
    ): void {
      const { batch, inChannels: channels, outPixels } = shapeOf(window);
      const taps = dFilter.length / channels;
      const pieces = piecesOf(device, batch * outPixels, channels);
      backend.scratch(pieces * dFilter.length, (partial) => {
        const kernel = device.kernel('window', 'depthwiseFilter', `ppp${windowTypes}i`);
        const values = [x, dy, partial, ...window, pieces];
        device.launch(kernel, byFeature(channels, pieces, taps), [32, 8], values);
        reduce(device, 'Sum', partial, dFilter, [1, pieces, dFilter.length], 1);
      });
    },
    pool(x: DeviceArray, y: DeviceArray, window: Int32Array, average: boolean): void {
      const kernel = device.kernel('window', 'pool', `pp${windowTypes}il`);
      device.walk(kernel, y.length, [x, y, ...window, Number(average), y.length]);
    },
    poolGradient(
      x: DeviceArray,
      dy: DeviceArray,
      dx: DeviceArray,
      window: Int32Array,
      average: boolean,
    ): void {
      const kernel = device.kernel('window', 'poolGradient', `ppp${windowTypes}il`);
      device.walk(kernel, dx.length, [x, dy, dx, ...window, Number(average), dx.length]);
    },
  } as unknown as Kernels;
}
