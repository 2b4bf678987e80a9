import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { reduce } from './reduce.js';

const scanTypes = 'pppppppppiiii';

/** How `source/scan.cu` divides its work. */
export interface ScanLayout {
  /** Neighbouring threads that share the states of a channel. */
  readonly lanes: number;
  /** Channels of which each of them runs its part; 1, 2 or 4. */
  readonly channels: number;
  /** Threads of a block, and blocks that are to fit a multiprocessor at once. */
  readonly threads: number;
  readonly blocks: number;
  /** Steps from one kept state to the next; a multiple of `chunk`. */
  readonly stage: number;
  /** Steps whose states stay in registers on the way back. */
  readonly chunk: number;
}

/** Both ways; they have the same `stage`. */
export interface ScanLayouts {
  readonly forward: ScanLayout;
  readonly backward: ScanLayout;
}

/** Four states for each thread, where they divide so. */
export function scanLayouts(states: number): ScanLayouts {
  const lanes = [32, 16, 8, 4, 2].find((count) => states % (4 * count) === 0) ?? 1;
  const own = states / lanes;
  if (own !== 4) {
    const chunk = own <= 8 ? 4 : 2;
    const layout = { lanes, channels: 1, threads: 128, blocks: 1, stage: 8, chunk };
    return { forward: layout, backward: layout };
  }
  const layout = { lanes, channels: 2, threads: 256, stage: 16, chunk: 8 };
  return { forward: { ...layout, blocks: 2 }, backward: { ...layout, blocks: 1 } };
}

/** Channels of a block. */
const widthOf = ({ threads, lanes, channels }: ScanLayout): number => (threads / lanes) * channels;

/** Shared memory of a block, as `source/scan.cu` lays it out. */
const sharedFloats = {
  scanForward(layout: ScanLayout, states: number): number {
    const width = widthOf(layout);
    return 2 * width + 2 * (2 * layout.stage * width + 2 * layout.stage * states);
  },
  scanBackward(layout: ScanLayout, states: number, gated: boolean): number {
    const { lanes, channels, threads, stage, chunk } = layout;
    const width = widthOf(layout);
    const [tile, mixes] = [stage * width, 2 * stage * states];
    const sums = (gated ? 3 : 2) * (tile + 16) + (mixes * threads) / 32 + 8 * threads;
    const starts = (stage / chunk - 1) * channels * (states / lanes) * threads;
    return 2 * width + 2 * (3 * tile + mixes) + sums + starts;
  },
};

/**
 * `source/scan.cu`. Beyond the addon's arguments, `kept` comes last: `[stages, batch, channels, states]`, the states before
 * each stage, written by `scanForward` and read by `scanBackward`; empty where they are not kept.
 */
export function scan(device: Device, layoutsOf = scanLayouts): Kernels {
  const { backend } = device;
  type Sizes = readonly [batch: number, length: number, channels: number, states: number];

  /** Starts a kernel for all channels of all sequences. */
  function launch(
    name: 'scanForward' | 'scanBackward',
    layout: ScanLayout,
    [batch, length, channels, states]: Sizes,
    reverse: boolean,
    inputs: readonly DeviceArray[],
    others: readonly (DeviceArray | number)[],
  ): void {
    const gated = inputs[8].length > 0;
    const kernel = device.kernel('scan', name, scanTypes + 'p'.repeat(others.length), {
      ...{ STATES: states, GATED: gated ? 1 : 0 },
      ...{ LANES: layout.lanes, CHANNELS: layout.channels },
      ...{ THREADS: layout.threads, BLOCKS: layout.blocks },
      ...{ STAGE: layout.stage, CHUNK: layout.chunk },
    });
    const sharedBytes = 4 * sharedFloats[name](layout, states, gated);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    const grid = [Math.ceil(channels / widthOf(layout)), batch] as const;
    const values = [...inputs, batch, length, channels, reverse ? 1 : 0, ...others];
    device.launch(kernel, grid, [layout.threads], values, sharedBytes);
  }

  function scanForward(...values: (DeviceArray | number | boolean)[]): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const outputs = values.slice(9, 11) as DeviceArray[];
    const sizes = values.slice(11, 15) as unknown as Sizes;
    const kept = (values[16] as DeviceArray | undefined) ?? 0;
    const { forward } = layoutsOf(sizes[3]);
    launch('scanForward', forward, sizes, values[15] === true, inputs, [...outputs, kept]);
  }

  function scanBackward(...values: (DeviceArray | number | boolean)[]): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const [dY, dLast, dU, dDelta, dA, dB, dC, dD, dBias, dInitial, dZ] = values.slice(
      9,
      20,
    ) as DeviceArray[];
    const sizes = values.slice(20, 24) as unknown as Sizes;
    const [batch, length, channels, states] = sizes;
    const reverse = values[24] === true;
    const { forward, backward } = layoutsOf(states);
    const blocks = Math.ceil(channels / widthOf(backward));
    const mixes = batch * length * states;
    const given = values[25] as DeviceArray | undefined;
    const isKept = given !== undefined && given.length > 0;
    const stages = Math.ceil(length / backward.stage);
    backend.scratch(isKept ? 0 : stages * batch * channels * states, (found) => {
      const kept = isKept ? given : found;
      if (!isKept) launch('scanForward', forward, sizes, reverse, inputs, [0, 0, kept]);
      backend.scratch(batch * channels * (states + 2) + 2 * blocks * mixes, (parts) => {
        const partA = parts.pointer;
        const partD = partA + 4 * batch * channels * states;
        const partBias = partD + 4 * batch * channels;
        const partB = partBias + 4 * batch * channels;
        const partC = partB + 4 * blocks * mixes;
        const to = [dU, dDelta, dInitial, dZ, partA, partB, partC, partD, partBias];
        const from = [dY, dLast, kept];
        launch('scanBackward', backward, sizes, reverse, inputs, [...from, ...to]);
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
