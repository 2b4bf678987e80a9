import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { rowLayout, widthFor } from './pieces.js';

/** `source/normalise.cu`. */
export function normalise(device: Device): Kernels {
  const { backend } = device;
  /** Blocks of threads by features, several each, and rows: all at work at once. */
  function layoutOf(rows: number, features: number) {
    const width = widthFor(features);
    return {
      kernel: (name: string, types: string) =>
        device.kernel('normalise', name, types, { WIDTH: width }),
      ...rowLayout(device, rows, features, width, 64),
    };
  }
  /** Sums of pieces, by blocks of 32 features × 32 pieces. */
  const join = (
    { kernel }: ReturnType<typeof layoutOf>,
    name: string,
    types: string,
    features: number,
    values: (number | DeviceArray)[],
  ): void => device.launch(kernel(name, types), [Math.ceil(features / 32)], [32, 32], values);

  function normaliseRows(
    x: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray | 0,
    y: DeviceArray,
    rows: number,
    features: number,
    epsilon: number,
  ): void {
    const kernel = device.kernel('normalise', 'rowNormForward', 'pppplif');
    device.walk(kernel, 32 * rows, [x, scale, shift, y, rows, features, epsilon]);
  }
  function normaliseRowsBack(
    x: DeviceArray,
    scale: DeviceArray,
    dY: DeviceArray,
    dX: DeviceArray,
    dScale: DeviceArray,
    dShift: DeviceArray | undefined,
    [rows, features, epsilon]: readonly number[],
  ): void {
    const layout = layoutOf(rows, features);
    const { pieces } = layout;
    backend.scratch(2 * rows, (statistics) => {
      backend.scratch(2 * pieces * features, (partial) => {
        const centred = dShift === undefined ? 0 : 1;
        const back = device.kernel('normalise', 'rowNormBackward', 'ppppplii' + 'f');
        device.walk(back, 32 * rows, [
          x,
          scale,
          dY,
          dX,
          statistics,
          rows,
          features,
          centred,
          epsilon,
        ]);
        const sums = layout.kernel('rowNormSums', 'pppplii');
        const values = [x, dY, statistics, partial, rows, features, pieces];
        device.launch(sums, layout.grid, layout.threads, values);
        backend.scratch(dShift === undefined ? features : 0, (unused) => {
          const to = [partial, dScale, dShift ?? unused, features, pieces];
          join(layout, 'batchNormGradientJoin', 'pppii', features, to);
        });
      });
    });
  }

  function batchNorm(
    x: DeviceArray,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray,
    y: DeviceArray,
    features: number,
    epsilon: number,
  ): void {
    backend.scratch(features, (factor) => {
      const from = [scale.length === 0 ? 0 : scale, variance, factor, features, epsilon];
      const rows = y.length / features;
      const { kernel, pieces, grid, threads } = layoutOf(rows, features);
      device.walk(kernel('batchNormFactor', 'pppif'), features, from);
      const to = [x, mean, factor, shift.length === 0 ? 0 : shift, y, rows, features, pieces];
      device.launch(kernel('batchNormApply', 'pppppl' + 'ii'), grid, threads, to);
    });
  }

  return {
    batchNorm,
    batchNormForward(
      x: DeviceArray,
      scale: DeviceArray,
      shift: DeviceArray,
      y: DeviceArray,
      mean: DeviceArray,
      variance: DeviceArray,
      rows: number,
      features: number,
      epsilon: number,
    ): void {
      const layout = layoutOf(rows, features);
      const { kernel, pieces, grid, threads } = layout;
      backend.scratch(2 * pieces * features, (partial) => {
        backend.scratch(features, (factor) => {
          const sums = [x, partial, rows, features, pieces];
          device.launch(kernel('batchNormSums', 'pplii'), grid, threads, sums);
          const to = [x, partial, scale, mean, variance, factor, rows, features, pieces, epsilon];
          join(layout, 'batchNormJoin', 'pppppplii' + 'f', features, to);
          const apply = [x, mean, factor, shift, y, rows, features, pieces];
          device.launch(kernel('batchNormApply', 'pppppl' + 'ii'), grid, threads, apply);
        });
      });
    },
    batchNormFixed(
      x: DeviceArray,
      scale: DeviceArray,
      shift: DeviceArray,
      mean: DeviceArray,
      variance: DeviceArray,
      y: DeviceArray,
      _rows: number,
      features: number,
      epsilon: number,
    ): void {
      batchNorm(x, mean, variance, scale, shift, y, features, epsilon);
    },
    batchNormBackward(
      x: DeviceArray,
      scale: DeviceArray,
      mean: DeviceArray,
      variance: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dScale: DeviceArray,
      dShift: DeviceArray,
      rows: number,
      features: number,
      epsilon: number,
    ): void {
      const layout = layoutOf(rows, features);
      const { kernel, pieces, grid, threads } = layout;
      backend.scratch(2 * pieces * features, (partial) => {
        const sums = [x, mean, variance, dY, partial, rows, features, pieces, epsilon];
        const sumTypes = 'ppppplii' + 'f';
        device.launch(kernel('batchNormGradientSums', sumTypes), grid, threads, sums);
        const to = [partial, dScale, dShift, features, pieces];
        join(layout, 'batchNormGradientJoin', 'pppii', features, to);
        const all = [x, scale, mean, variance, dY, dScale, dShift, dX];
        const apply = kernel('batchNormGradient', 'pppppppp' + 'liif');
        device.launch(apply, grid, threads, [...all, rows, features, pieces, epsilon]);
      });
    },
    rmsNormForward(x: DeviceArray, scale: DeviceArray, y: DeviceArray, ...sizes: number[]): void {
      normaliseRows(x, scale, 0, y, ...(sizes as [number, number, number]));
    },
    layerNormForward(
      x: DeviceArray,
      scale: DeviceArray,
      shift: DeviceArray,
      y: DeviceArray,
      ...sizes: number[]
    ): void {
      normaliseRows(x, scale, shift, y, ...(sizes as [number, number, number]));
    },
    rmsNormBackward(
      x: DeviceArray,
      scale: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dScale: DeviceArray,
      ...sizes: number[]
    ): void {
      normaliseRowsBack(x, scale, dY, dX, dScale, undefined, sizes);
    },
    layerNormBackward(
      x: DeviceArray,
      scale: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dScale: DeviceArray,
      dShift: DeviceArray,
      ...sizes: number[]
    ): void {
      normaliseRowsBack(x, scale, dY, dX, dScale, dShift, sizes);
    },
  } as unknown as Kernels;
}
