import type { AdamwConfig } from '../../ops/adamw.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

const most = 80;
const pieceLength = 4096;
/** The struct `Tensors`: arguments of a kernel may take 4 KiB. */
const tensorsTypes = `${'p'.repeat(4 * most)}${'i'.repeat(2 * most)}${'f'.repeat(2 * most)}ii`;

/** Kernels over many tensors. `control`: settings, loss and norms of engine/ops/adamw.ts. */
export interface Optimisers {
  /** @param norms gets that of all tensors, then that of each. */
  euclideanNorms(norms: DeviceArray, tensors: readonly DeviceArray[]): void;
  /** @param tensors parameter, gradient, m and v of each parameter; all but gradients change. */
  adamwAll(
    control: readonly DeviceArray[],
    config: AdamwConfig,
    tensors: readonly DeviceArray[],
  ): void;
  /** @param tensors average and value in turn; averages change. */
  runningAverages(control: readonly DeviceArray[], tensors: readonly DeviceArray[]): void;
}

/** Tensors of one launch. */
interface Group {
  /** Of the first among all. */
  readonly start: number;
  readonly count: number;
  readonly blocks: number;
  /** Values of the struct. */
  readonly values: readonly number[];
}

/** `source/optimise.cu`. */
export function optimise(device: Device): Optimisers {
  const { backend } = device;
  const kernel = (name: string, types: string) => device.kernel('optimise', name, types);

  /** @param arrays up to four for each tensor, in turn. */
  function groupsOf(
    arrays: readonly DeviceArray[],
    each: number,
    settings: readonly Float32Array[] = [],
  ): Group[] {
    const groups: Group[] = [];
    const total = arrays.length / each;
    for (let start = 0; start < total; start += most) {
      const count = Math.min(most, total - start);
      const pointers = new Array<number>(4 * most).fill(0);
      const lengths = new Array<number>(most).fill(0);
      const firstBlocks = new Array<number>(most).fill(0);
      const own = new Array<number>(2 * most).fill(0);
      let blocks = 0;
      for (let t = 0; t < count; t++) {
        const tensor = arrays.slice(each * (start + t), each * (start + t + 1));
        tensor.forEach(({ pointer }, a) => (pointers[a * most + t] = pointer));
        lengths[t] = tensor[0].length;
        firstBlocks[t] = blocks;
        settings.forEach((values, s) => (own[s * most + t] = values[start + t]));
        blocks += Math.ceil(lengths[t] / pieceLength);
      }
      const values = [...pointers, ...lengths, ...firstBlocks, ...own, count, 0];
      groups.push({ start, count, blocks, values });
    }
    return groups;
  }

  return {
    euclideanNorms(norms, tensors): void {
      const squareSums = kernel('squareSums', `${tensorsTypes}p`);
      const normOfEach = kernel('normOfEach', `${tensorsTypes}ppp`);
      const groups = groupsOf(tensors, 1);
      const blocks = groups.reduce((largest, group) => Math.max(largest, group.blocks), 1);
      // Doubles take the room of two floats.
      backend.scratch(2 * (blocks + tensors.length), (sums) => {
        const squares = sums.pointer + 8 * blocks;
        for (const { start, count, blocks: used, values } of groups) {
          if (used > 0) device.launch(squareSums, [used], [256], [...values, sums]);
          const to = [sums, squares + 8 * start, norms.pointer + 4 * (1 + start)];
          device.launch(normOfEach, [count], [256], [...values, ...to]);
        }
        const all = kernel('normOfAll', 'ppi');
        device.launch(all, [1], [256], [squares, norms, tensors.length]);
      });
    },
    adamwAll(control, { beta1, beta2, epsilon, gradientClip, rates, weightDecays }, tensors): void {
      const update = kernel('adamw', `${tensorsTypes}pppffffff`);
      const rests = [beta1, beta2].map((beta) => beta - Math.fround(beta));
      const constants = [beta1, beta2, epsilon, gradientClip, ...rests];
      for (const { blocks, values } of groupsOf(tensors, 4, [rates, weightDecays])) {
        if (blocks > 0)
          device.launch(update, [blocks], [256], [...values, ...control, ...constants]);
      }
    },
    runningAverages(control, tensors): void {
      const blend = kernel('runningAverages', `${tensorsTypes}ppp`);
      for (const { blocks, values } of groupsOf(tensors, 2)) {
        if (blocks > 0) device.launch(blend, [blocks], [256], [...values, ...control]);
      }
    },
  };
}
