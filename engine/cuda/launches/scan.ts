import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { reduce } from './reduce.js';

const scanTypes = 'pppppppppiiiii';

/** How `source/scan.cu` divides its work. */
export interface ScanLayout {
  /** Neighbouring threads that share the states of a channel. */
  readonly lanes: number;
  /** Channels of which each of them runs its part; 1, 2 or 4, at most `lanes`. */
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
  /** Into how many segments steps are cut at most; none is shorter than four stages. */
  readonly segments: number;
}

const lanesOf = (states: number): number =>
  [32, 16, 8, 4, 2].find((count) => states % (4 * count) === 0) ?? 1;

/** Steps from one kept state to the next: fewer where threads have many states, for which there must be room. */
export function stageOf(states: number): number {
  const own = states / lanesOf(states);
  return own === 4 ? 12 : own <= 8 ? 8 : 2;
}

/**
 * Four states of two channels for each thread, where they divide so; where that leaves too few threads, steps are cut into
 * segments side by side.
 *
 * @param sequences channels of all sequences of the batch.
 * @param multiprocessors of the device.
 */
export function scanLayouts(
  states: number,
  sequences: number,
  multiprocessors: number,
): ScanLayouts {
  const [lanes, stage] = [lanesOf(states), stageOf(states)];
  const whole = states === 4 * lanes;
  const channels = whole ? Math.min(2, lanes) : 1;
  // A block has a thread for each of its channels.
  const threads = whole ? Math.min(128, 64 * lanes) : 128;
  const blocks = whole ? 4 : 1;
  const layout = { lanes, channels, threads, blocks, stage, chunk: Math.min(4, stage) };
  const segments = Math.ceil((384 * multiprocessors * channels) / (sequences * lanes));
  return { forward: layout, backward: layout, segments };
}

/** Channels of a block. */
const widthOf = ({ threads, lanes, channels }: ScanLayout): number => (threads / lanes) * channels;

/** Shared memory of a block, as `source/scan.cu` lays it out. */
function sharedFloats(name: KernelName, layout: ScanLayout, states: number, gated: boolean) {
  const { lanes, channels, threads, stage, chunk } = layout;
  const width = widthOf(layout);
  const [tile, mixes] = [stage * width, 2 * stage * states];
  if (name !== 'scanBackward') return 2 * width + 2 * (2 * tile + mixes);
  const sums = (gated ? 3 : 2) * (tile + 16) + (mixes * threads) / 32 + 8 * threads;
  const allStates = channels * (states / lanes) * threads;
  const starts = Math.max(0, stage / chunk - 2) * allStates;
  return 2 * width + 2 * (3 * tile + mixes + allStates) + sums + starts;
}

type KernelName = 'scanForward' | 'scanReturn' | 'scanBackward';

/**
 * `source/scan.cu`. Beyond the addon's arguments, `kept` comes last: `[stages, batch, channels, states]`, the states before
 * each stage, written by `scanForward` and read by `scanBackward`; empty where they are not kept.
 */
export function scan(device: Device, layoutsOf = scanLayouts): Kernels {
  const { backend } = device;
  const { multiprocessors } = backend.driver;

  /** A scan of given inputs, and the kernels for it. */
  function scanOf(
    inputs: readonly (DeviceArray | number)[],
    [batch, length, channels, states]: readonly number[],
    reverse: boolean,
  ) {
    const sequences = batch * channels;
    const layouts = layoutsOf(states, sequences, multiprocessors);
    const { stage } = layouts.forward;
    const stages = Math.ceil(length / stage);
    const most = Math.max(1, Math.min(layouts.segments, Math.floor(stages / 4)));
    const segment = Math.ceil(stages / most) * stage;
    const segments = Math.max(1, Math.ceil(length / segment));
    const gated = (inputs[8] as DeviceArray).length > 0;
    const sizes = [batch, length, channels, reverse ? 1 : 0, segment];
    const definitions = (layout: ScanLayout) => ({
      ...{ STATES: states, GATED: gated ? 1 : 0 },
      ...{ LANES: layout.lanes, CHANNELS: layout.channels },
      ...{ THREADS: layout.threads, BLOCKS: layout.blocks },
      ...{ STAGE: layout.stage, CHUNK: layout.chunk },
    });

    /** Starts a kernel for all channels of all sequences, and all segments. */
    function launch(
      name: KernelName,
      layout: ScanLayout,
      others: readonly (DeviceArray | number)[],
      initial = inputs[7],
    ): void {
      const types = scanTypes + 'p'.repeat(others.length);
      const kernel = device.kernel('scan', name, types, definitions(layout));
      const sharedBytes = 4 * sharedFloats(name, layout, states, gated);
      if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
      const grid = [Math.ceil(channels / widthOf(layout)), batch, segments] as const;
      const values = [...inputs.slice(0, 7), initial, inputs[8], ...sizes, ...others];
      device.launch(kernel, grid, [layout.threads], values, sharedBytes);
    }

    /**
     * Calls `use` with that with which each segment begins, `[segments, batch, channels, states]`: with `begin` alone where
     * there is but one.
     *
     * @param run leaves what segments add, and their durations.
     */
    function withStarts(
      begin: DeviceArray | number,
      backwards: boolean,
      run: (ends: number, durations: number) => void,
      use: (starts: DeviceArray | number) => void,
    ): void {
      if (segments === 1) {
        use(begin);
        return;
      }
      const count = segments * sequences;
      backend.scratch(count * (2 * states + 1), ({ pointer: starts }) => {
        const ends = starts + 4 * count * states;
        const durations = ends + 4 * count * states;
        run(ends, durations);
        const types = `${scanTypes}ppppii`;
        const carry = device.kernel('scan', 'scanCarry', types, definitions(layouts.forward));
        const others = [begin, ends, durations, starts, segments, backwards ? 1 : 0];
        device.walk(carry, sequences * states, [...inputs, ...sizes, ...others]);
        use(starts);
      });
    }

    return { layouts, stages, segments, launch, withStarts };
  }

  /** @param outputs y, last and kept; 0 where they are not wanted. */
  function runForward(
    { layouts: { forward }, launch, withStarts }: ReturnType<typeof scanOf>,
    initial: DeviceArray | number,
    outputs: readonly (DeviceArray | number)[],
  ): void {
    withStarts(
      initial,
      false,
      (ends, durations) => launch('scanForward', forward, [0, ends, 0, durations]),
      (starts) => launch('scanForward', forward, [...outputs, 0], starts),
    );
  }

  function scanForward(...values: (DeviceArray | number | boolean)[]): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const outputs = values.slice(9, 11) as DeviceArray[];
    const kept = (values[16] as DeviceArray | undefined) ?? 0;
    const found = scanOf(inputs, values.slice(11, 15) as number[], values[15] === true);
    runForward(found, inputs[7], [...outputs, kept]);
  }

  function scanBackward(...values: (DeviceArray | number | boolean)[]): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const [dY, dLast, dU, dDelta, dA, dB, dC, dD, dBias, dInitial, dZ] = values.slice(
      9,
      20,
    ) as DeviceArray[];
    const sizes = values.slice(20, 24) as number[];
    const [batch, length, channels, states] = sizes;
    const found = scanOf(inputs, sizes, values[24] === true);
    const { backward } = found.layouts;
    const blocks = Math.ceil(channels / widthOf(backward));
    const mixes = batch * length * states;
    const parts = found.segments * batch;
    const given = values[25] as DeviceArray | undefined;
    const isKept = given !== undefined && given.length > 0;
    backend.scratch(isKept ? 0 : found.stages * batch * channels * states, (room) => {
      const kept = isKept ? given : room;
      if (!isKept) runForward(found, inputs[7], [0, 0, kept]);
      backend.scratch(parts * channels * (states + 2) + 2 * blocks * mixes, (sums) => {
        const partA = sums.pointer;
        const partD = partA + 4 * parts * channels * states;
        const partBias = partD + 4 * parts * channels;
        const partB = partBias + 4 * parts * channels;
        const partC = partB + 4 * blocks * mixes;
        const to = [dU, dDelta, dInitial, dZ, partA, partB, partC, partD, partBias];
        found.withStarts(
          dLast,
          true,
          (ends, durations) => found.launch('scanReturn', backward, [dY, ends, durations]),
          (ends) => found.launch('scanBackward', backward, [dY, ends, kept, ...to]),
        );
        const sum = (from: number, target: DeviceArray, count: number): void =>
          reduce(device, 'Sum', view(from), target, [1, count, target.length], 1);
        sum(partA, dA, parts);
        sum(partD, dD, parts);
        sum(partBias, dBias, parts);
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
