import { sizeOf, type Attributes, type FusedOpDefinition } from '../../engine/fused.js';
import { causalConv1dDefinition } from '../../engine/ops/causalConv1d.js';
import { depthwiseConv2dDefinition } from '../../engine/ops/depthwiseConv2d.js';
import { geluDefinition } from '../../engine/ops/gelu.js';
import {
  adaptiveLifDefinition,
  defaultLif,
  lifDefinition,
  parametricLifDefinition,
  type Surrogate,
} from '../../engine/ops/lif.js';
import { gatherRowsDefinition } from '../../engine/ops/gatherRows.js';
import {
  decayingLinearAttentionDefinition,
  linearAttentionDefinition,
} from '../../engine/ops/linearAttention.js';
import {
  batchNormDefinition,
  layerNormDefinition,
  rmsNormDefinition,
} from '../../engine/ops/normalise.js';
import { patchesDefinition } from '../../engine/ops/patches.js';
import {
  gatedSelectiveScanDefinition,
  selectiveScanDefinition,
} from '../../engine/ops/selectiveScan.js';
import { siluDefinition, siluGateDefinition } from '../../engine/ops/silu.js';
import { softmaxCrossEntropyDefinition } from '../../engine/ops/softmaxCrossEntropy.js';
import { createRandom, type Random } from '../../engine/support/random.js';

/** One op with one choice of settings and a way to draw inputs for it. */
export interface Case {
  readonly title: string;
  readonly definition: FusedOpDefinition<Attributes>;
  readonly attributes: Attributes;
  /** Shapes of the inputs for the given extents. */
  shapes(extent: Extents): number[][];
  /** How input i is drawn; standard normal by default. */
  readonly draw?: (random: Random, input: number) => number;
  /** Inputs that no factor may change, such as probabilities; none by default. */
  readonly fixed?: readonly number[];
  /** Outputs that carry gradient; all by default. */
  readonly differentiable?: readonly boolean[];
  /** Whether finite differences make sense (no step functions). */
  readonly smooth?: boolean;
}

export interface Extents {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

export const erase = <A extends Attributes>(
  definition: FusedOpDefinition<A>,
): FusedOpDefinition<Attributes> => definition as unknown as FusedOpDefinition<Attributes>;

const lifShapes = ({ a, b, c }: Extents): number[][] => [
  [a, b, c],
  [a, c],
];

/** Learned time constants and adapting thresholds take a third input. */
const lifVariants = [
  {
    variant: 'parametricLif',
    definition: parametricLifDefinition,
    // One time constant for every neuron, or one for each.
    extra: ({ c, d }: Extents): number[] => (d % 2 === 0 ? [1] : [c]),
    settings: {} as Attributes,
    draw: (random: Random, input: number) =>
      input === 2 ? 1.2 + Math.abs(random.normal()) : random.normal(),
  },
  {
    variant: 'adaptiveLif',
    definition: adaptiveLifDefinition,
    extra: ({ a, c }: Extents): number[] => [a, c],
    settings: { adaptationStrength: 0.7, adaptationDecay: 0.8 } as Attributes,
    draw: undefined,
  },
];

export const cases: Case[] = [
  ...(['atan', 'sigmoid', 'triangle', 'rectangle'] as Surrogate[]).flatMap((surrogate) =>
    (['hard', 'soft'] as const).flatMap((reset) =>
      [true, false].map((detachReset): Case => ({
        title: `lif ${surrogate} ${reset}${detachReset ? ' detached' : ''}`,
        definition: erase(lifDefinition),
        attributes: {
          ...defaultLif,
          surrogate,
          reset,
          detachReset,
          decayInput: detachReset,
          tau: 1.7,
          threshold: 0.6,
          surrogateWidth: 1.3,
        },
        shapes: lifShapes,
      })),
    ),
  ),
  ...(['hard', 'soft'] as const).flatMap((reset) =>
    (['atan', 'sigmoid', 'triangle'] as const).map((surrogate): Case => ({
      title: `lif ${surrogate} ${reset} relaxed`,
      definition: {
        ...erase(lifDefinition),
        // The reference has no relaxed form: gradients are held against finite differences alone.
        reference: () => {
          throw new Error('no relaxed reference');
        },
      },
      attributes: { ...defaultLif, surrogate, reset, detachReset: false, relaxed: true },
      shapes: lifShapes,
      smooth: true,
    })),
  ),
  ...lifVariants.flatMap(({ variant, definition, extra, settings, draw }) =>
    (['hard', 'soft'] as const).flatMap((reset) =>
      [false, true].flatMap((relaxed) =>
        [true, false].map((decayInput): Case => ({
          title: `${variant} ${reset}${decayInput ? ' decaying input' : ''}${relaxed ? ' relaxed' : ''}`,
          definition: erase(definition),
          attributes: {
            ...defaultLif,
            ...settings,
            reset,
            decayInput,
            detachReset: !relaxed && decayInput,
            threshold: 0.6,
            relaxed,
          },
          shapes: (extent) => [...lifShapes(extent), extra(extent)],
          draw,
          fixed: variant === 'parametricLif' ? [2] : [],
          ...(relaxed && { smooth: true }),
        })),
      ),
    ),
  ),
  ...[false, true].flatMap((reverse) =>
    [false, true].map((gated): Case => ({
      title: `${gated ? 'gated ' : ''}selectiveScan${reverse ? ' reverse' : ''}`,
      definition: erase(gated ? gatedSelectiveScanDefinition : selectiveScanDefinition),
      attributes: { reverse },
      shapes: ({ a, b, c, d }) => [
        [a, b, c],
        [a, b, c],
        [c, d],
        [a, b, d],
        [a, b, d],
        [c],
        [c],
        [a, c, d],
        ...(gated ? [[a, b, c]] : []),
      ],
      draw: (random, input) => (input === 2 ? -Math.exp(random.normal()) : random.normal()),
      smooth: true,
    })),
  ),
  ...[false, true].map((reverse): Case => ({
    title: `causalConv1d${reverse ? ' reverse' : ''}`,
    definition: erase(causalConv1dDefinition),
    attributes: { reverse },
    shapes: ({ a, b, c, d }) => [[a, b, c], [d + 1, c], [c], [a, d, c]],
    smooth: true,
  })),
  ...[
    { causal: false, normalise: true },
    { causal: true, normalise: true },
    { causal: true, normalise: false },
  ].map(({ causal, normalise }): Case => ({
    title: `linearAttention ${causal ? 'causal' : 'bidirectional'}${normalise ? '' : ', fixed scale'}`,
    definition: erase(linearAttentionDefinition),
    attributes: { heads: 2, causal, normalise, epsilon: 0.5 },
    shapes: ({ a, b, c, d }) => [
      [a, b, c, 2 * d],
      [a, b, c, 2 * d],
      [a, b, c, 2 * d],
      [a, 2, d, d],
      [a, 2, d],
    ],
    // Queries, keys and their sum are not negative; some are exactly zero, as spikes are.
    draw: (random, input) =>
      [0, 1, 4].includes(input) ? Math.max(0, random.normal()) : random.normal(),
    smooth: false,
  })),
  ...[true, false].flatMap((normalise) =>
    ['head', 'channel'].map((per): Case => ({
      title: `linearAttention decaying per ${per}${normalise ? '' : ', fixed scale'}`,
      definition: erase(decayingLinearAttentionDefinition),
      attributes: { heads: 2, causal: true, normalise, epsilon: 0.5 },
      shapes: ({ a, b, c, d }) => [
        [a, b, c, 2 * d],
        [a, b, c, 2 * d],
        [a, b, c, 2 * d],
        [a, 2, d, d],
        [a, 2, d],
        [a, b, per === 'head' ? 2 : 2 * d],
      ],
      fixed: [5],
      draw: (random, input) => {
        if (input === 5) return random.uniform();
        return [0, 1, 4].includes(input) ? Math.max(0, random.normal()) : random.normal();
      },
      smooth: false,
    })),
  ),
  {
    title: 'batchNorm',
    definition: erase(batchNormDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b + 1, c], [c], [c]],
    differentiable: [true, false, false],
    smooth: true,
  },
  {
    title: 'rmsNorm',
    definition: erase(rmsNormDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b, c], [c]],
    smooth: true,
  },
  {
    title: 'layerNorm',
    definition: erase(layerNormDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b, c], [c], [c]],
    // The gradient is a difference of products with the scale: large ones leave nothing but rounding.
    fixed: [1],
    smooth: true,
  },
  {
    title: 'softmaxCrossEntropy',
    definition: erase(softmaxCrossEntropyDefinition),
    attributes: {},
    shapes: ({ a, b, c }) => [
      [a * b, c],
      [a * b, c],
    ],
    // Targets need not add up to 1.
    draw: (random, input) => (input === 1 ? random.uniform() : 3 * random.normal()),
    smooth: true,
  },
  ...[1, 2].map((lists): Case => ({
    title: `gatherRows of ${lists} lists`,
    definition: erase(gatherRowsDefinition),
    // Rows several times, out of order, and none.
    attributes: { index: Int32Array.of(0, 3, -1, 2, 2, 4), lists },
    shapes: ({ a, b, c }) => [[2 * a, b + 4, c]],
    smooth: true,
  })),
  {
    title: 'silu',
    definition: erase(siluDefinition),
    attributes: {},
    shapes: ({ a, b }) => [[a, b]],
    smooth: true,
  },
  {
    title: 'gelu',
    definition: erase(geluDefinition),
    attributes: {},
    shapes: ({ a, b }) => [[a, b]],
    smooth: true,
  },
  {
    title: 'siluGate',
    definition: erase(siluGateDefinition),
    attributes: {},
    shapes: ({ a, b }) => [
      [a, b],
      [a, b],
    ],
    smooth: true,
  },
  {
    title: 'patches',
    definition: erase(patchesDefinition),
    attributes: { size: 2 },
    shapes: ({ a, b, c, d }) => [[a, b, 2 * c, 2 * d]],
    smooth: true,
  },
  {
    title: 'depthwiseConv2d',
    definition: erase(depthwiseConv2dDefinition),
    attributes: {},
    shapes: ({ a, b, c, d }) => [[a, b, c, d], [3, 3, d], [d]],
    smooth: true,
  },
];

/** Inputs in double precision, row-major, whose values are float32 numbers, those of `fixed` unscaled. */
export function drawArrays(test: Case, extent: Extents, seed: number, scale = 1): Float64Array[] {
  const random = createRandom(seed, test.title);
  return test.shapes(extent).map((shape, i) => {
    const values = new Float64Array(sizeOf(shape));
    const factor = test.fixed?.includes(i) ? 1 : scale;
    for (let j = 0; j < values.length; j++) {
      // Rounded to float32, so that both precisions start from the same numbers.
      values[j] = Math.fround(factor * (test.draw ?? ((r) => r.normal()))(random, i));
    }
    return values;
  });
}
