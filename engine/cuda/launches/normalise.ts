import type { Kernels } from '../../native/addon.js';
import { blockThreads, type Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { byFeature, piecesOf } from './pieces.js';

/** `source/normalise.cu`. */
export function normalise(device: Device): Kernels {
  const { backend } = device;
  const perFeature = (
    name: string,
    types: string,
    features: number,
    values: (number | DeviceArray)[],
  ): void =>
    device.launch(
      device.kernel('normalise', name, types),
      [Math.ceil(features / blockThreads)],
      [blockThreads],
      values,
    );

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
    const pieces = piecesOf(device, rows, features);
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
        const sums = device.kernel('normalise', 'rowNormSums', 'pppplii');
        const values = [x, dY, statistics, partial, rows, features, pieces];
        device.launch(sums, byFeature(features, pieces), [32, 8], values);
        backend.scratch(dShift === undefined ? features : 0, (unused) => {
          const to = [partial, dScale, dShift ?? unused, features, pieces];
          perFeature('batchNormGradientJoin', 'pppii', features, to);
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
      perFeature('batchNormFactor', 'pppif', features, from);
      const apply = device.kernel('normalise', 'batchNormApply', 'pppppil');
      const to = [x, mean, factor, shift.length === 0 ? 0 : shift, y, features, y.length];
      device.walk(apply, y.length, to);
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
      const pieces = piecesOf(device, rows, features);
      backend.scratch(2 * pieces * features, (partial) => {
        backend.scratch(features, (factor) => {
          const sums = device.kernel('normalise', 'batchNormSums', 'pplii');
          const grid = byFeature(features, pieces);
          device.launch(sums, grid, [32, 8], [x, partial, rows, features, pieces]);
          const join = [x, partial, scale, mean, variance, factor, rows, features, pieces, epsilon];
          perFeature('batchNormJoin', 'pppppplii' + 'f', features, join);
          const apply = device.kernel('normalise', 'batchNormApply', 'pppppil');
          device.walk(apply, y.length, [x, mean, factor, shift, y, features, y.length]);
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
      const pieces = piecesOf(device, rows, features);
      backend.scratch(2 * pieces * features, (partial) => {
        const sums = device.kernel('normalise', 'batchNormGradientSums', 'ppppplii' + 'f');
        const values = [x, mean, variance, dY, partial, rows, features, pieces, epsilon];
        device.launch(sums, byFeature(features, pieces), [32, 8], values);
        const join = [partial, dScale, dShift, features, pieces];
        perFeature('batchNormGradientJoin', 'pppii', features, join);
        const apply = device.kernel('normalise', 'batchNormGradient', 'pppppppp' + 'lifl');
        const to = [
          x,
          scale,
          mean,
          variance,
          dY,
          dScale,
          dShift,
          dX,
          rows,
          features,
          epsilon,
          dX.length,
        ];
        device.walk(apply, dX.length, to);
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
