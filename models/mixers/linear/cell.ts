import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { linear } from '../../../engine/ops/linear.js';
import { rmsNorm } from '../../../engine/ops/normalise.js';
import { silu } from '../../../engine/ops/silu.js';
import { SaccadeError } from '../../../engine/support/errors.js';
import { within } from '../../context.js';
import type { StateTree } from '../../model.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../../neurons/spiking.js';
import type { Initialiser, ParameterTree } from '../../parameters.js';
import { joinHeads, splitHeads } from '../heads.js';
import { outputGateNames, outputGates } from '../outputGates.js';
import { inSegments, requireWhole, segmentLengths } from '../segments.js';
import {
  trafficBytes,
  type LinearSystem,
  type MixerForm,
  type MixerShape,
  type TokenMixer,
} from '../tokenMixer.js';
import { decays } from './decays/index.js';
import { featureMaps } from './featureMaps/index.js';
import { mixerNeurons } from './featureMaps/spikes.js';
import { locals } from './locals/index.js';
import { memories } from './memories/index.js';
import { hebbBothWays } from './memories/hebb.js';
import { attentionalBiases, retentions } from './memories/miras.js';
import { normalisers } from './normalisers/index.js';
import { positions } from './positions/index.js';
import {
  split,
  type MemoryInput,
  type MemorySizes,
  type Mix,
  type Normaliser,
  type Products,
  type Segment,
  type Sizes,
  type Slot,
} from './slots.js';

function namesOf<K extends string>(table: Readonly<Record<K, unknown>>): [K, ...K[]] {
  return Object.keys(table) as [K, ...K[]];
}

const count = z.number().int().positive();

/** The cell's slots and their settings. */
export const cellFields = {
  /** Whether a token sees itself and those before it, or all. */
  causal: z.boolean(),
  featureMap: z.enum(namesOf(featureMaps)),
  decay: z.enum(namesOf(decays)),
  update: z.enum(namesOf(memories)),
  normaliser: z.enum(namesOf(normalisers)),
  local: z.enum(namesOf(locals)),
  position: z.enum(namesOf(positions)),
  outputGate: z.enum(outputGateNames),
  /** `simpleRms` normalises all features of a token (TransNormerLLM), `rms` each head, with a scale. */
  outputNorm: z.enum(['none', 'simpleRms', 'rms']),
  /** What values pass. */
  valueMap: z.enum(['none', 'silu']),
  /** Neurons at the output. */
  outputSpikes: z.enum(['none', 'spikes', 'smoothSpikes']),
  /** Features of a head's queries and keys; 0 = as many as its values. */
  keyWidth: z.number().int().min(0),
  /** Rank of the channel gate. */
  gateRank: count,
  /** Of convolutions over time. */
  taps: z.number().int().min(2),
  /** Tokens of the local window. */
  window: count,
  /** Tokens of RAT's chunks, and of those that Miras' memories take gradients of together. */
  chunkTokens: count,
  /** Of Miras' memories. */
  attentionalBias: z.enum(attentionalBiases),
  biasPower: z.number().int().min(2),
  retention: z.enum(retentions),
  retentionPower: z.number().int().min(2).multipleOf(2),
  simplexSum: z.number().positive(),
  /** λ of local linear attention. */
  ridge: z.number().positive(),
  /** Added to the sum of weights. */
  epsilon: z.number().positive(),
  /** Whether the delta rule's β reaches to 2, for negative eigenvalues, rather than to 1. */
  negativeEigenvalues: z.boolean(),
  /** Which layer of how many this is, for slopes that depend on it. */
  layer: z.number().int().min(0),
  layers: count,
} as const;

export type CellSettings = z.infer<z.ZodObject<typeof cellFields>>;

/** A cell that only adds up: elu + 1 features and a sum of weights (Katharopoulos et al. 2020). */
export const plainCell: CellSettings = {
  causal: true,
  featureMap: 'elu1',
  decay: 'none',
  update: 'hebb',
  normaliser: 'sum',
  local: 'none',
  position: 'none',
  outputGate: 'none',
  outputNorm: 'none',
  valueMap: 'none',
  outputSpikes: 'none',
  keyWidth: 0,
  gateRank: 16,
  taps: 4,
  window: 8,
  chunkTokens: 8,
  attentionalBias: 'squared',
  biasPower: 3,
  retention: 'decay',
  retentionPower: 4,
  simplexSum: 1,
  ridge: 1e-2,
  epsilon: 1e-6,
  negativeEigenvalues: false,
  layer: 0,
  layers: 1,
};

/** A linear mixer: it can also be read as linear systems. */
export interface LinearMixer extends TokenMixer {
  /**
   * The linear systems that mix these tokens, from the start of a sequence, and the mixer's output from the
   * systems' outputs `[batch, heads, tokens, values]`, in the same order. Undefined where there are none.
   */
  systems?(
    parameters: ParameterTree,
    x: tf.Tensor,
  ): { systems: readonly LinearSystem[]; finish(outputs: readonly tf.Tensor[]): tf.Tensor };
}

const slotNames = ['featureMap', 'decay', 'update', 'normaliser', 'local', 'position'] as const;
type SlotName = (typeof slotNames)[number];

/**
 * One cell for the family of linear mixers. Each token's queries, keys and values (after a local branch) go
 * through a feature map; a memory of keys and values forgets by a gate, is written by an update rule and read
 * by the queries, and a normaliser makes what it gives comparable. Presets that fill the slots are in
 * `presets.ts`. Tokens are seen one by one in their order, or all at once.
 *
 * @throws SaccadeError of kind `config` where slots don't go together.
 */
export function createCell(name: string, settings: CellSettings, shape: MixerShape): LinearMixer {
  const { width, heads, rows, columns } = shape;
  const { causal } = settings;
  const valueWidth = width / heads;
  const keyWidth = settings.keyWidth === 0 ? valueWidth : settings.keyWidth;
  const sizes: Sizes = { ...shape, keyWidth, valueWidth, causal };
  const map = featureMaps[settings.featureMap](sizes);
  const position = positions[settings.position]?.(sizes, map.features);
  const features = position?.features ?? map.features;
  const decay = decays[settings.decay]?.(
    { ...sizes, keyWidth: map.features },
    { ...settings, rank: settings.gateRank },
  );
  const decaying: MemorySizes['decays'] =
    decay === undefined ? 'none' : decay.perChannel ? 'perChannel' : 'perHead';
  const update = memories[settings.update](sizes, settings);
  const normaliserFor = (values: number): Normaliser =>
    normalisers[settings.normaliser]({
      ...sizes,
      valueWidth: values,
      features,
      plainFeatures: map.features,
      positioned: position !== undefined,
      epsilon: settings.epsilon,
    });
  const normaliser = normaliserFor(valueWidth);
  const local = locals[settings.local]?.(sizes, settings);
  const gate = outputGates[settings.outputGate]?.(shape);
  const slots: Readonly<Record<SlotName, Slot | undefined>> = {
    featureMap: map,
    decay,
    update,
    normaliser,
    local,
    position,
  };
  checkSlots();

  const tokens = rows * columns;
  const projections = [
    ...(update.withoutQueries === true ? [] : [['query', heads * keyWidth] as const]),
    ['key', heads * keyWidth] as const,
    ['value', width] as const,
    ...(update.needsBeta === true ? [['beta', heads] as const] : []),
    ...(update.needsThreshold === true ? [['threshold', heads] as const] : []),
  ];
  const neuron = mixerNeurons(settings.outputSpikes === 'smoothSpikes');
  const fires = settings.outputSpikes !== 'none';
  const usual: MixerForm = causal ? 'chunked' : 'parallel';

  function wrong(field: SlotName | 'causal', message: string): SaccadeError {
    return new SaccadeError('config', message, { field: `model.mixer.${field}` });
  }

  function checkSlots(): void {
    const { decay: needed, noNormaliser, square } = update.requires ?? {};
    if (
      needed !== undefined &&
      needed !== decaying &&
      !(needed === 'perHead' && decaying === 'none')
    ) {
      throw wrong('decay', `is ${settings.decay}; ${settings.update} goes with decay ${needed}`);
    }
    if (noNormaliser === true && !/none|scaled/.test(settings.normaliser)) {
      throw wrong('normaliser', `is ${settings.normaliser}; ${settings.update} needs none`);
    }
    if (square === true && (features !== valueWidth || keyWidth !== valueWidth)) {
      throw wrong(
        'update',
        `is ${settings.update}, for as many features as values; here are ${features} and ${valueWidth}`,
      );
    }
    if (settings.decay === 'additive' && map.spikes === true) {
      throw wrong('decay', 'is additive, for keys that are logarithms of weights, no spikes');
    }
    if (settings.normaliser === 'flow' && (map.positive !== true || position !== undefined)) {
      throw wrong('featureMap', `is ${settings.featureMap}; flows need capacities above 0`);
    }
    if (settings.normaliser === 'flow' && decay !== undefined) {
      throw wrong('decay', `is ${settings.decay}; flows go without decay`);
    }
    if (settings.normaliser === 'inLine' && decay?.perChannel === true) {
      throw wrong('decay', `is ${settings.decay}; inLine goes with a decay per head`);
    }
    if (settings.position === 'rotary' && map.features % 2 !== 0) {
      throw wrong('position', `turns pairs of features; a head has ${map.features}`);
    }
    if (causal) return;
    if (settings.update !== 'hebb') throw wrong('causal', `is false; ${settings.update} is causal`);
    if (decay !== undefined && settings.decay !== 'additive') {
      throw wrong('causal', `is false; decay ${settings.decay} needs an order`);
    }
    if (!['none', 'positional', 'dynamic', 'toeplitz'].includes(settings.local)) {
      throw wrong('causal', `is false; local ${settings.local} is causal`);
    }
  }

  const slotParameters = (parameters: ParameterTree, slot: string): ParameterTree =>
    (parameters[slot] ?? {}) as ParameterTree;

  /**
   * What each head reads.
   *
   * @param mixWith computes a memory in place of the update, given its name and input.
   * @param given values in place of the tokens' own, `[batch, heads, tokens, …]`.
   * @returns `[batch, heads, tokens, values]`, and the slots' states.
   */
  function readHeads(
    parameters: ParameterTree,
    segment: Segment,
    state: StateTree | undefined,
    mixWith?: (name: string, input: MemoryInput) => tf.Tensor,
    given?: tf.Tensor,
  ): { out: tf.Tensor; state: Record<string, StateTree> } {
    const { x, mask, form, context } = segment;
    const of = (slot: string): ParameterTree => slotParameters(parameters, slot);
    const before = (slot: string): StateTree | undefined => state?.[slot] as StateTree | undefined;
    const at = (slot: string): Segment => ({ ...segment, context: within(context, slot) });
    const after: Record<string, StateTree> = {};
    const keep = (slot: string, next: StateTree | undefined): void => {
      if (next !== undefined) after[slot] = next;
    };
    const present = (y: tf.Tensor): tf.Tensor => (mask === undefined ? y : tf.mul(y, mask));

    const projected = Object.fromEntries(
      projections.map(([to]) => [to, linear(x, parameters[to] as tf.Tensor)]),
    );
    let qkv: readonly tf.Tensor[] = [
      projected.query ?? projected.key,
      projected.key,
      projected.value,
    ];
    if (local?.before !== undefined) {
      const shifted = local.before(of('local'), qkv, before('local'), at('local'));
      qkv = shifted.qkv;
      keep('local', shifted.state);
    }
    const [q, k, v] = qkv.map((y) => splitHeads(y, heads));
    const values = given ?? (settings.valueMap === 'silu' ? silu(v) : v);
    const mapped = map.apply(of('featureMap'), { q, k }, before('featureMap'), at('featureMap'));
    keep('featureMap', mapped.state);
    const gated = decay?.apply(of('decay'), mapped.k, before('decay'), at('decay')) ?? mapped;
    if (decay !== undefined) keep('decay', gated.state);
    const logDecay = 'logDecay' in gated ? (gated.logDecay as tf.Tensor | undefined) : undefined;
    const plain = { q: mapped.q, k: present(gated.k) };
    const placed = position?.apply(of('position'), plain, at('position')) ?? plain;
    const beta = projected.beta && splitHeads(tf.sigmoid(projected.beta), heads);
    const threshold = projected.threshold && splitHeads(tf.softplus(projected.threshold), heads);

    // Positions that have several features for each of a key's give them all its decay.
    const decayOf = (keys: tf.Tensor, log: tf.Tensor): tf.Tensor =>
      log.shape[3] === 1 || log.shape[3] === keys.shape[3]
        ? log
        : tf.tile(log, [1, 1, 1, keys.shape[3]! / log.shape[3]!]);
    const memoryState: Record<string, StateTree> = {};
    const mix: Mix = (memory, input) => {
      if (!causal) return hebbBothWays(input);
      const all: MemoryInput = {
        ...input,
        ...(logDecay !== undefined && { logDecay: present(decayOf(input.k, logDecay)) }),
        ...(beta !== undefined && {
          beta: present(settings.negativeEigenvalues ? tf.mul(beta, 2) : beta),
        }),
        ...(threshold !== undefined && { threshold }),
        mask,
        position: segment.frame * tokens,
      };
      if (mixWith !== undefined) return mixWith(memory, all);
      const known = before('memory')?.[memory] as StateTree | undefined;
      const result = update.apply(of('update'), all, known, form);
      memoryState[memory] = result.state;
      return result.out;
    };
    const reader = given === undefined ? normaliser : normaliserFor(given.shape[3]!);
    const read = reader.apply(
      { ...placed, v: values },
      plain,
      mix,
      before('normaliser'),
      at('normaliser'),
    );
    keep('normaliser', read.state);
    keep('memory', memoryState);
    let out = read.out;
    if (local?.beside !== undefined) {
      const near = local.beside(of('local'), { q, k, v: values }, before('local'), at('local'));
      out = tf.add(out, near.out);
      keep('local', near.state);
    }
    return { out, state: after };
  }

  function run(
    parameters: ParameterTree,
    segment: Segment,
    state: StateTree | undefined,
    mixWith?: (name: string, input: MemoryInput) => tf.Tensor,
  ): { output: tf.Tensor; state: StateTree | undefined } {
    const { x, context } = segment;
    const read = readHeads(parameters, segment, state, mixWith);
    const after = read.state;
    let out = read.out;
    if (settings.outputNorm === 'rms') out = rmsNorm(out, parameters.scale as tf.Tensor);
    let joined = joinHeads(out);
    if (settings.outputNorm === 'simpleRms') joined = rmsNorm(joined, tf.ones([width]));
    if (gate !== undefined) {
      joined = gate.apply(slotParameters(parameters, 'outputGate'), x, joined);
    }
    let output = linear(joined, parameters.output as tf.Tensor);
    if (fires) {
      const [batch, length] = x.shape as [number, number];
      const fired = spiking(
        slotParameters(parameters, 'neurons') as unknown as SpikingParameters,
        tf.reshape(output, [batch, length / tokens, tokens, width]),
        (state?.neurons as StateTree | undefined)?.membrane as tf.Tensor | undefined,
        neuron,
        within(context, 'neurons'),
      );
      output = tf.reshape(fired.spikes, x.shape);
      after.neurons = { membrane: fired.membrane };
    }
    return { output, state: causal ? after : undefined };
  }

  const segmentOf = (
    part: { x: tf.Tensor; mask: tf.Tensor | undefined; frame: number },
    form: MixerForm,
    context: Segment['context'],
  ): Segment => {
    const [batch, length] = part.x.shape as [number, number];
    const { mask } = part;
    return {
      x: mask === undefined ? part.x : tf.mul(part.x, tf.expandDims(mask, -1)),
      mask: mask === undefined ? undefined : tf.reshape(mask, [batch, 1, length, 1]),
      frame: part.frame,
      form,
      context,
    };
  };

  const parameterCount =
    projections.reduce((sum, [, outputs]) => sum + width * outputs, width * width) +
    slotNames.reduce((sum, slot) => sum + (slots[slot]?.parameters ?? 0), 0) +
    (gate?.parameters ?? 0) +
    (settings.outputNorm === 'rms' ? valueWidth : 0) +
    (fires ? 2 * width : 0);

  const isLinearSystem = causal && update.system !== undefined;
  // Convolutions beside the memory and averages per channel are no weights of whole values.
  const hasWeights =
    update.requires?.square !== true &&
    update.nonlinear !== true &&
    !['positional', 'dynamic'].includes(settings.local);
  const wholeSegment = (x: tf.Tensor): Segment =>
    segmentOf({ x, mask: undefined, frame: 0 }, 'parallel', { training: false, path: '' });

  return {
    name,
    shape,
    causal,
    tokenCausal: causal && (tokens === 1 || !['positional', 'dynamic'].includes(settings.local)),
    streaming: causal,
    growingState: causal && update.memoryValues(1, 2, 2) !== update.memoryValues(4096, 2, 2),
    mixesTokens: true,
    forms: causal ? ['chunked', 'parallel', 'step'] : ['parallel'],
    initialise: (initialiser: Initialiser) => {
      const parts: [string, tf.Tensor | ParameterTree][] = [
        ...projections.map(([to, outputs]): [string, tf.Tensor] => [
          to,
          initialiser.weight(to, width, outputs),
        ]),
        ['output', initialiser.weight('output', width, width)],
      ];
      for (const slot of slotNames) {
        const part = slots[slot]?.initialise?.(initialiser.within(slot));
        if (part !== undefined) parts.push([slot, part]);
      }
      if (gate !== undefined) {
        parts.push(['outputGate', gate.initialise(initialiser.within('outputGate'))]);
      }
      if (settings.outputNorm === 'rms')
        parts.push(['scale', initialiser.constant([valueWidth], 1)]);
      if (fires) parts.push(['neurons', { ...initialiseSpiking(initialiser, width) }]);
      return Object.fromEntries(parts);
    },
    apply(parameters, x, state, context, options = {}) {
      requireWhole(causal, state, options.form);
      // In training, neurons are normalised by the whole sequence.
      const whole = context.training && (fires || map.spikes === true);
      const form = whole ? 'parallel' : (options.form ?? usual);
      return inSegments(x, state, shape, { ...options, form }, (part, before) =>
        run(parameters, segmentOf(part, form, context), before),
      );
    },
    cost(length, { form = usual, chunk } = {}) {
      let macs = length * projections.reduce((sum, [, outputs]) => sum + width * outputs, 0);
      macs += length * width * width + length * (gate?.parameters ?? 0);
      let synapses = 0;
      const add = (products: Products | undefined, times = 1): void => {
        macs += times * (products?.macs ?? 0);
        synapses += times * (products?.synapses ?? 0);
      };
      let before = 0;
      for (const frames of segmentLengths(length / tokens, form, chunk)) {
        const here = frames * tokens;
        add(map.products(here));
        add(decay?.products(here));
        add(local?.products(here, before));
        for (const { of, ...memory } of normaliser.memories) {
          const spikes =
            map.spikes === true && (of === 'plain' || (of === 'placed' && position === undefined));
          const kind = { ...memory, spikes, decays: decaying };
          add(
            causal
              ? update.products(here, before, kind, form)
              : split(spikes, 2 * here * memory.features * memory.values, 0),
            heads,
          );
        }
        before += here;
      }
      const stateValues = causal
        ? slotNames.reduce((sum, slot) => sum + (slots[slot]?.stateValues?.(length) ?? 0), 0) +
          normaliser.memories.reduce(
            (sum, memory) =>
              sum + heads * update.memoryValues(length, memory.features, memory.values),
            0,
          ) +
          (fires ? tokens * width : 0)
        : 0;
      return {
        parameters: parameterCount,
        macs,
        synapses,
        stateBytes: 4 * stateValues,
        trafficBytes: trafficBytes(parameterCount, length, shape, 4 * stateValues),
      };
    },
    ...(hasWeights && {
      attentionWeights(parameters: ParameterTree, x: tf.Tensor) {
        const [batch, length] = x.shape as [number, number];
        // What is read of values that tell tokens apart are their weights.
        const units = tf.tile(tf.reshape(tf.eye(length), [1, 1, length, length]), [
          batch,
          heads,
          1,
          1,
        ]);
        return readHeads(parameters, wholeSegment(x), undefined, undefined, units).out;
      },
    }),
    ...(isLinearSystem && {
      systems(parameters: ParameterTree, x: tf.Tensor) {
        const segment = wholeSegment(x);
        const systems: LinearSystem[] = [];
        const updateParameters = (parameters.update ?? {}) as ParameterTree;
        run(parameters, segment, undefined, (_, input) => {
          systems.push(update.system!(updateParameters, input).system);
          return update.apply(updateParameters, input, undefined, 'parallel').out;
        });
        return {
          systems,
          finish(outputs: readonly tf.Tensor[]) {
            let next = 0;
            return run(parameters, segment, undefined, (_, input) =>
              update.system!(updateParameters, input).read(outputs[next++]),
            ).output;
          },
        };
      },
    }),
  };
}
