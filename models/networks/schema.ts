import { z } from 'zod';

import { mixerExtents } from '../blocks/placedMixer.js';
import { feedForwardKinds } from '../blocks/spikMambaBlock.js';
import { stemKinds } from '../blocks/stem.js';
import { hybridPlacements } from '../mixers/hybridSchedule.js';
import { mixerSchema } from '../mixers/registry.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { neurons } from '../neurons/registry.js';
import type { LinearConfig } from './linear.js';
import type { LempelZivConfig } from './lempelZiv.js';
import type { PublishedConfig } from './published.js';
import type { SpikformerConfig } from './spikformer.js';
import type { SpikingConvNetConfig } from './spikingConvNet.js';
import type { SpikMambaConfig } from './spikMamba.js';

const count = z.number().int().positive();
const extent = z.number().int().min(0);
const positive = z.number().positive();

// Each schema lists every field of its settings (`satisfies` sees to it); a field that is left out keeps
// the preset's value.
type Fields<T> = { readonly [name in keyof T]-?: z.ZodType };
type Named<T> = {
  [name in keyof T as string extends name ? never : number extends name ? never : name]: T[name];
};

/** Every setting of the neurons but `relaxed`, which is for gradient checks. */
const neuronFields = {
  kind: z.enum(Object.keys(neurons) as (keyof typeof neurons)[]),
  /** In frames; `infinity` makes the neurons integrate without a leak. */
  tau: z.union([z.number().gt(1), z.literal('infinity')], {
    error: 'expected a number greater than 1, or infinity',
  }),
  threshold: positive,
  reset: z.enum(['hard', 'soft']),
  decayInput: z.boolean(),
  detachReset: z.boolean(),
  surrogate: z.enum(['atan', 'sigmoid', 'triangle', 'rectangle']),
  surrogateWidth: positive,
  adaptationStrength: z.number().min(0),
  adaptationDecay: z.number().min(0).max(1),
  segments: count,
  synapses: count,
  segmentThreshold: positive,
  expectation: z.number().min(0).max(1),
} satisfies Fields<Omit<Named<NeuronConfig>, 'relaxed'>>;

const odd = count.refine((size) => size % 2 === 1, { error: 'expected an odd number' });

/** What frames go through first. */
const stemFields = {
  stem: z.enum(stemKinds),
  /** Of the stems `delayed` and `motion`, which look back. */
  delays: z
    .strictObject({
      /** Frames that an event can count later, at most; delays are 0 … this many. */
      maxDelay: count,
      /** Of `motion`: motions that are told apart at each pixel. */
      motions: count,
      /** Of `motion`: side of the kernels in pixels, odd. */
      size: odd,
    })
    .partial(),
};

const neuron = z.strictObject(neuronFields).partial();

/** Another mixer in some of the layers. */
export const hybridSchema = z.strictObject({
  full: mixerSchema.default(mixerSchema.parse({ name: 'softmaxAttention' })),
  ratio: count,
  placement: z.enum(hybridPlacements).default('interleaved'),
});

const spikMambaFields = {
  mode: z.enum(['causal', 'bidirectional']),
  ...stemFields,
  patch: count,
  kernelFrames: count,
  embedding: count,
  depth: count,
  heads: count,
  window: z.strictObject({ frames: extent, rows: extent, columns: extent }).partial(),
  attentionEpsilon: positive,
  stateChannels: count,
  states: count,
  deltaRank: count,
  taps: count,
  scanOrder: z.enum(['frame', 'tube']),
  feedForward: count,
  classToken: z.boolean(),
  temporalPosition: z.boolean(),
  feedForwardKind: z.enum(feedForwardKinds),
  mixer: mixerSchema,
  mixerOver: z.enum(mixerExtents),
  hybrid: hybridSchema,
  /** Rounded activations that training keeps from changing; `{}` for the defaults. */
  delta: z.strictObject({
    /** First step of the rounding, in units of normalised activations (about 1); > 0. */
    step: positive.default(0.25),
    /** Weight in the loss of one step of one value, times its fan-out; ≥ 0. */
    rate: z.number().min(0).default(1e-3),
  }),
  neuron,
} satisfies Fields<SpikMambaConfig>;

const publishedFields = {
  patch: count,
  embedding: count,
  depth: count,
  heads: count,
  feedForward: count,
  neuron,
} satisfies Fields<PublishedConfig>;

const spikingConvNetFields = {
  patch: count,
  channels: z.array(count).min(1),
  neuron,
} satisfies Fields<SpikingConvNetConfig>;

const spikformerFields = {
  ...stemFields,
  ...publishedFields,
  attentionScale: positive,
} satisfies Fields<SpikformerConfig>;

const linearFields = { logarithm: z.boolean() } satisfies Fields<LinearConfig>;

const lempelZivFields = {
  patch: count,
  /** In frames; 0 for those of a training clip. */
  window: extent,
} satisfies Fields<LempelZivConfig>;

/** A network by kind, with a preset where it has several, and the settings that differ from it. */
export const modelSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('spikmamba'),
    preset: z.enum(['nano', 'small', 'base']).default('nano'),
    ...z.strictObject(spikMambaFields).partial().shape,
  }),
  z.strictObject({
    kind: z.literal('published'),
    preset: z.enum(['published']).default('published'),
    ...z.strictObject(publishedFields).partial().shape,
  }),
  z.strictObject({
    kind: z.literal('spikingConvNet'),
    ...z.strictObject(spikingConvNetFields).partial().shape,
  }),
  z.strictObject({
    kind: z.literal('spikformer'),
    ...z.strictObject(spikformerFields).partial().shape,
  }),
  z.strictObject({
    kind: z.literal('linear'),
    ...z.strictObject(linearFields).partial().shape,
  }),
  z.strictObject({
    kind: z.literal('lempelZiv'),
    ...z.strictObject(lempelZivFields).partial().shape,
  }),
]);

export type ModelConfig = z.infer<typeof modelSchema>;
export type NeuronChanges = z.infer<typeof neuron>;
