import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { rowLayout, widthFor } from './pieces.js';
import { reduce } from './reduce.js';

/** Blocks of images that a multiprocessor's registers hold: `resident` in the source. */
const imageBlocks = 3;

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

  /** Kernels for this many taps, four channels a thread where registers hold what they gather. */
  function kernelsFor(channels: number, taps: number, most: number) {
    const width = taps <= most ? widthFor(channels) : 1;
    return {
      width,
      kernel: (name: string, types: string) =>
        device.kernel('convolve', name, types, { WIDTH: width, TAPS: taps }),
    };
  }
  const alongTime = (channels: number, taps: number) => kernelsFor(channels, taps, 8);
  const overImages = (channels: number, size: number) => kernelsFor(channels, size, 3);

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
      const [batch, length, channels, taps, reverse] = values.slice(6).map(Number);
      const { kernel, width } = alongTime(channels, taps);
      const rows = batch * (length + taps - 1);
      const { grid, threads, pieces } = rowLayout(device, rows, channels, width);
      const all = [...arrays, batch, length, channels, reverse, pieces];
      device.launch(kernel('causalConv1dForward', 'ppppppiiiii'), grid, threads, all);
    },
    causalConv1dBackward(...values: unknown[]): void {
      const [x, weight, initial, dY, dLast, dX, dWeight, dBias, dInitial] = values.slice(
        0,
        9,
      ) as DeviceArray[];
      const [batch, length, channels, taps, reverse] = values.slice(9).map(Number);
      const { kernel, width } = alongTime(channels, taps);
      const sizes = [batch, length, channels, reverse];
      const inputs = rowLayout(device, batch * (length + taps - 1), channels, width);
      device.launch(kernel('causalConv1dInputs', 'pppppiiiii'), inputs.grid, inputs.threads, [
        ...[weight, dY, dLast, dX, dInitial],
        ...[...sizes, inputs.pieces],
      ]);
      const { grid, threads, pieces } = rowLayout(device, batch * length, channels, width, 64);
      backend.scratch(pieces * (taps + 1) * channels, (partial) => {
        const from = [x, initial, dY, partial, ...sizes, pieces];
        device.launch(kernel('causalConv1dWeights', 'ppppiiiii'), grid, threads, from);
        weightGradients(partial, pieces, dWeight, dBias);
      });
    },
    depthwiseSameForward(
      x: DeviceArray,
      weight: DeviceArray,
      bias: DeviceArray,
      y: DeviceArray,
      ...[frames, height, width, channels, size]: number[]
    ): void {
      const own = overImages(channels, size);
      const rows = frames * height * width;
      const { grid, threads, pieces } = rowLayout(
        device,
        rows,
        channels,
        own.width,
        undefined,
        imageBlocks,
      );
      const sizes = [frames, height, width, channels, 0, pieces];
      const kernel = own.kernel('depthwiseSame', 'ppppiiiiii');
      device.launch(kernel, grid, threads, [x, weight, bias, y, ...sizes]);
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
      const own = overImages(channels, size);
      const rows = frames * height * width;
      const back = rowLayout(device, rows, channels, own.width, undefined, imageBlocks);
      device.launch(own.kernel('depthwiseSame', 'ppppiiiiii'), back.grid, back.threads, [
        ...[dY, weight, 0, dX],
        ...[frames, height, width, channels, 1, back.pieces],
      ]);
      const { grid, threads, pieces } = rowLayout(
        device,
        rows,
        channels,
        own.width,
        64,
        imageBlocks,
      );
      backend.scratch(pieces * (size * size + 1) * channels, (partial) => {
        const values = [x, dY, partial, frames, height, width, channels, pieces];
        device.launch(own.kernel('depthwiseWeights', 'pppiiiii'), grid, threads, values);
        weightGradients(partial, pieces, dWeight, dBias);
      });
    },
  } as unknown as Kernels;
}
