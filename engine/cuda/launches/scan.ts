import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { reduce } from './reduce.js';

const scanTypes = 'pppppppppiiii';
const threads = 256;

/** Lanes that share a channel's states, four states each where they divide so; steps that registers hold. */
function layoutOf(states: number): { lanes: number; chunk: number } {
  const lanes = [32, 16, 8, 4, 2].find((count) => states % (4 * count) === 0) ?? 1;
  const own = states / lanes;
  return { lanes, chunk: own <= 4 ? 8 : own <= 8 ? 4 : 2 };
}

/** Steps from one kept state to the next. */
export const chunkOf = (states: number): number => layoutOf(states).chunk;

/**
 * `source/scan.cu`. Beyond the addon's arguments, `kept` comes last: `[chunks, batch, channels, states]`, the states before
 * each chunk, written by `scanForward` and read by `scanBackward`; empty where they are not kept.
 */
export function scan(device: Device): Kernels {
  const { backend } = device;
  const scanDefinitions = (states: number, gated: boolean) => {
    const { lanes, chunk } = layoutOf(states);
    return { STATES: states, LANES: lanes, CHUNK: chunk, GATED: gated ? 1 : 0 };
  };
  const scanGrid = (batch: number, channels: number, lanes: number) =>
    [Math.ceil((channels * lanes) / threads), batch] as const;

  function scanForward(
    ...values: [
      ...[
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
      ],
      ...[
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        number,
        number,
        number,
        number,
        boolean,
        DeviceArray | undefined,
      ],
    ]
  ): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const [y, last] = values.slice(9, 11) as DeviceArray[];
    const [batch, length, channels, states] = values.slice(11, 15) as number[];
    const definitions = scanDefinitions(states, inputs[8].length > 0);
    const kernel = device.kernel('scan', 'scanForward', `${scanTypes}ppp`, definitions);
    const sizes = [batch, length, channels, values[15] ? 1 : 0];
    const grid = scanGrid(batch, channels, definitions.LANES);
    device.launch(kernel, grid, [threads], [...inputs, ...sizes, y, last, values[16] ?? 0]);
  }

  function scanBackward(...values: (DeviceArray | number | boolean)[]): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const [dY, dLast, dU, dDelta, dA, dB, dC, dD, dBias, dInitial, dZ] = values.slice(
      9,
      20,
    ) as DeviceArray[];
    const [batch, length, channels, states] = values.slice(20, 24) as number[];
    const sizes = [batch, length, channels, values[24] ? 1 : 0];
    const definitions = scanDefinitions(states, inputs[8].length > 0);
    const { LANES: lanes, CHUNK: chunk, GATED: gated } = definitions;
    const grid = scanGrid(batch, channels, lanes);
    const blocks = grid[0];
    const chunks = Math.ceil(length / chunk);
    const width = threads / lanes;
    const joined = lanes < 32 ? 2 : 1;
    const mixPlane = chunk * ((width / joined) * states + 16) + 16;
    const perStep = 2 * states + 3 * width + (2 + gated) * threads;
    const sharedBytes = 4 * (chunk * perStep + 2 * mixPlane);
    const mixes = batch * length * states;
    const given = values[25] as DeviceArray | undefined;
    const known = given !== undefined && given.length > 0;
    backend.scratch(known ? 0 : chunks * batch * channels * states, (found) => {
      const kept = known ? given : found;
      if (!known) {
        const again = device.kernel('scan', 'scanForward', `${scanTypes}ppp`, definitions);
        device.launch(again, grid, [threads], [...inputs, ...sizes, 0, 0, kept]);
      }
      backend.scratch(batch * channels * (states + 2) + 2 * blocks * mixes, (parts) => {
        const partA = parts.pointer;
        const partD = partA + 4 * batch * channels * states;
        const partBias = partD + 4 * batch * channels;
        const partB = partBias + 4 * batch * channels;
        const partC = partB + 4 * blocks * mixes;
        const back = device.kernel(
          'scan',
          'scanBackward',
          `${scanTypes}${'p'.repeat(12)}`,
          definitions,
        );
        if (sharedBytes > 49152) backend.driver.allowShared(back, sharedBytes);
        const to = [dU, dDelta, dInitial, dZ, partA, partB, partC, partD, partBias];
        const from = [...inputs, ...sizes, dY, dLast, kept];
        device.launch(back, grid, [threads], [...from, ...to], sharedBytes);
        const sum = (from: number, target: DeviceArray, count: number): void =>
          reduce(device, 'Sum', view(from), target, [1, count, target.length], 1);
        sum(partA, dA, batch);
        sum(partD, dD, batch);
        sum(partBias, dBias, batch);
        sum(partB, dB, blocks);
        sum(partC, dC, blocks);
      });
    });
  }

  return { scanForward, scanBackward } as unknown as Kernels;
}

/** An address within a larger array; its length is the reader's business. */
function view(pointer: number): DeviceArray {
  return { pointer } as DeviceArray;
}
