import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { byFeature, piecesOf } from './pieces.js';
import { reduce } from './reduce.js';

/** `source/convolve.cu`. */
export function convolve(device: Device): Kernels {
  const { backend } = device;
  /** Sums of pieces, [pieces, rows, features], into a weight of rows - 1 rows and a bias of one. */
  function weightGradients(
    partial: DeviceArray,
    pieces: number,
    dWeight: DeviceArray,
    dBias: DeviceArray,
  ): void {
    backend.scratch(dWeight.length + dBias.length, (whole) => {
      reduce(device, 'Sum', partial, whole, [1, pieces, whole.length], 1);
      backend.driver.copy(dWeight.pointer, whole.pointer, dWeight.byteLength);
      backend.driver.copy(dBias.pointer, whole.pointer + dWeight.byteLength, dBias.byteLength);
    });
  }

  return {
    causalConv1dForward(
      ...values: [
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        ...unknown[],
      ]
    ): void {
      const arrays = values.slice(0, 6) as DeviceArray[];
      const [batch, length, channels, taps, reverse] = values.slice(6) as number[];
      const kernel = device.kernel('convolve', 'causalConv1dForward', 'ppppppiiiii');
      const count = batch * (length + taps - 1) * channels;
      device.walk(kernel, count, [...arrays, batch, length, channels, taps, Number(reverse)]);
    },
    causalConv1dBackward(...values: unknown[]): void {
      const [x, weight, initial, dY, dLast, dX, dWeight, dBias, dInitial] = values.slice(
        0,
        9,
      ) as DeviceArray[];
      const [batch, length, channels, taps, reverse] = values.slice(9).map(Number);
      const inputs = device.kernel('convolve', 'causalConv1dInputs', 'pppppiiiii');
      const sizes = [batch, length, channels, taps, reverse];
      const count = batch * (length + taps - 1) * channels;
      device.walk(inputs, count, [weight, dY, dLast, dX, dInitial, ...sizes]);
      const pieces = piecesOf(device, batch * length, channels);
      backend.scratch(pieces * (taps + 1) * channels, (partial) => {
        const weights = device.kernel('convolve', 'causalConv1dWeights', 'ppppiiiiii');
        const from = [x, initial, dY, partial, ...sizes, pieces];
        device.launch(weights, byFeature(channels, pieces, taps + 1), [32, 8], from);
        weightGradients(partial, pieces, dWeight, dBias);
      });
    },
    depthwiseSameForward(
      x: DeviceArray,
      weight: DeviceArray,
      bias: DeviceArray,
      y: DeviceArray,
      ...[, height, width, channels, size]: number[]
    ): void {
      const kernel = device.kernel('convolve', 'depthwiseSame', 'ppppiiiiil');
      const sizes = [height, width, channels, size, 0, y.length];
      device.walk(kernel, y.length, [x, weight, bias, y, ...sizes]);
    },
    depthwiseSameBackward(
      x: DeviceArray,
      weight: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dWeight: DeviceArray,
      dBias: DeviceArray,
      ...[frames, height, width, channels, size]: number[]
    ): void {
      const back = device.kernel('convolve', 'depthwiseSame', 'ppppiiiiil');
      device.walk(back, dX.length, [
        ...[dY, weight, 0, dX, height, width, channels, size, 1, dX.length],
      ]);
      const pieces = piecesOf(device, frames * height * width, channels);
      backend.scratch(pieces * (size * size + 1) * channels, (partial) => {
        const weights = device.kernel('convolve', 'depthwiseWeights', 'pppiiiiii');
        const values = [x, dY, partial, frames, height, width, channels, size, pieces];
        device.launch(weights, byFeature(channels, pieces, size * size + 1), [32, 8], values);
        weightGradients(partial, pieces, dWeight, dBias);
      });
    },
  } as unknown as Kernels;
}
