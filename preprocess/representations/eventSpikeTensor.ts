import { z } from 'zod';

import { dataDefinition, dataOf, dataText, parseCall } from '../arguments.js';
import {
  type ClipGrid,
  createRepresentation,
  defineRepresentation,
  type Representation,
  type RepresentationRule,
  sinceStartUs,
  yesOrNo,
} from './representation.js';

/** A kernel over time: its value at an offset from the sample time, as a share of the interval, -1 … 1. */
export type TimeKernel = (offset: number) => number;

/** Layers of a kernel that was learned: one input, one output, leaky ReLU (0.1) between the layers. */
export type KernelLayer = z.infer<typeof layerSchema>;

const layerSchema = z.strictObject({
  /** `[outputs][inputs]`. */
  weights: z.array(z.array(z.number()).readonly()).min(1).readonly(),
  /** `[outputs]`. */
  biases: z.array(z.number()).readonly(),
});

const kernelSchema = z
  .array(layerSchema)
  .min(1)
  .readonly()
  .superRefine((layers, context) => {
    const inputs = layers.map(({ weights }) => weights[0]?.length ?? 0);
    const fits = layers.every(
      ({ weights, biases }, i) =>
        weights.length === biases.length &&
        weights.length === (inputs[i + 1] ?? 1) &&
        weights.every((row) => row.length === inputs[i]),
    );
    if (fits && inputs[0] === 1) return;
    const message = 'the layers of the kernel must lead from one input to one output';
    context.addIssue({ code: 'custom', message });
  });

interface EstState {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
}

/**
 * Event spike tensor (Gehrig et al., ICCV 2019, eqs. 5-9): of each polarity, Σ f · k(t_n - t*), with N
 * sample times t_n = n / (N - 1) spread evenly over the interval, t* the event's share of it, the
 * measurement f = t* or 1, and a kernel k. In space the kernel is a pixel. Channels: OFF, ON.
 */
function spikeTensor(timestamps: boolean, kernelOf: (bins: number) => TimeKernel) {
  const rule: RepresentationRule<EstState> = {
    channels: 2,
    values: 'real',
    binwise: false,
    start: (grid, out) => ({ grid, out }),
    add({ grid, out }, { length, tUs, x, y, polarity }) {
      const { bins, height, width, rows, columns } = grid;
      const durationUs = grid.toUs - grid.fromUs;
      const kernel = kernelOf(bins);
      const steps = Math.max(1, bins - 1);
      for (let i = 0; i < length; i++) {
        const time = durationUs > 0 ? sinceStartUs(grid, tUs[i]) / durationUs : 0;
        const measurement = timestamps ? time : 1;
        const row = polarity[i] * height + rows[y[i]];
        for (let bin = 0; bin < bins; bin++) {
          const weight = kernel(bin / steps - time);
          out[(bin * 2 * height + row) * width + columns[x[i]]] += measurement * weight;
        }
      }
    },
    finish() {
      // Nothing is left to do.
    },
  };
  return rule;
}

/** The paper’s trilinear kernel along time: max(0, 1 - |offset| (N - 1)); with one bin all events count in full. */
const trilinear =
  (bins: number): TimeKernel =>
  (offset) =>
    Math.max(0, 1 - Math.abs(offset) * (bins - 1));

/** The event spike tensor with its trilinear kernel. */
export const eventSpikeTensor = defineRepresentation({
  name: 'est',
  summary: 'normalised times under a trilinear kernel (Gehrig et al., ICCV 2019)',
  arguments: [
    { name: 'timestamps', ...yesOrNo, default: 1, what: '1: events count by their time, 0: as 1' },
  ],
  create: ({ timestamps }) => spikeTensor(timestamps === 1, trilinear),
});

/** The event spike tensor with a kernel that was learned elsewhere, such as the paper's layers of 1, 30, 30 and 1. */
export const learnedEventSpikeTensor = defineRepresentation({
  name: 'estLearned',
  summary: 'normalised times under a kernel that was learned (Gehrig et al., ICCV 2019)',
  arguments: [],
  texts: [dataDefinition('kernel', 'a list of layers, {weights, biases}', kernelSchema)],
  create(_values, { kernel }) {
    const layers = dataOf(kernel) as readonly KernelLayer[];
    return spikeTensor(true, () => kernelOf(layers));
  },
});

/**
 * `estLearned` of a kernel's layers.
 *
 * @throws SaccadeError of kind `config` where the layers' sizes do not follow on one another.
 */
export function learnedSpikeTensor(layers: readonly KernelLayer[]): Representation {
  const call = `${learnedEventSpikeTensor.name}:kernel=${dataText(layers)}`;
  return createRepresentation(parseCall('representation', [learnedEventSpikeTensor], call));
}

function kernelOf(layers: readonly KernelLayer[]): TimeKernel {
  return (offset) =>
    layers.reduce(
      (values, { weights, biases }, layer) =>
        weights.map((row, i) => {
          const sum = row.reduce((total, weight, j) => total + weight * values[j], biases[i]);
          return layer < layers.length - 1 && sum < 0 ? 0.1 * sum : sum;
        }),
      [offset],
    )[0];
}
