import { SaccadeError } from '../../engine/support/errors.js';
import { hasStages, type StemKind } from '../blocks/stem.js';
import type { InputShape, Model } from '../model.js';
import { defaultNeuron, type NeuronConfig } from '../neurons/neuron.js';
import { createLempelZiv } from './lempelZiv.js';
import { createLinear } from './linear.js';
import { baselines, publishedPresets, spikMambaPresets } from './presets.js';
import { createPublished } from './published.js';
import type { ModelConfig, NeuronChanges } from './schema.js';
import { createSpikformer } from './spikformer.js';
import { createSpikingConvNet } from './spikingConvNet.js';
import { createSpikMamba } from './spikMamba.js';

export { modelSchema, type ModelConfig } from './schema.js';

type ConfigOf<K extends ModelConfig['kind']> = Extract<ModelConfig, { kind: K }>;

/** How a network is made of its preset, the changes to it, and what it reads. */
type Creator<K extends ModelConfig['kind']> = (
  config: ConfigOf<K>,
  input: InputShape,
  classes: number,
) => Model;

const creators: { readonly [K in ModelConfig['kind']]: Creator<K> } = {
  spikmamba({ preset, neuron, window, delays, ...changes }, input, classes) {
    const base = spikMambaPresets[preset];
    const config = {
      ...changed(base, changes),
      window: changed(base.window, window),
      delays: changed(base.delays!, delays),
      neuron: changedNeuron(base.neuron, neuron),
    };
    const { rows, columns } = requirePatches(input, config.patch);
    requireStages(config);
    if (config.stem !== 'patch' && config.kernelFrames !== 1) {
      throw wrong(
        'kernelFrames',
        `is ${config.kernelFrames}, expected 1 for a ${config.stem} stem`,
      );
    }
    requireMultiple('embedding', config.embedding, 'heads', config.heads);
    requireTiles('window.rows', config.window.rows, rows);
    requireTiles('window.columns', config.window.columns, columns);
    return createSpikMamba(config, input, classes);
  },
  published({ preset, neuron, ...changes }, input, classes) {
    const base = publishedPresets[preset];
    const config = { ...changed(base, changes), neuron: changedNeuron(base.neuron, neuron) };
    requirePatches(input, config.patch);
    requireMultiple('embedding', config.embedding, 'heads', config.heads);
    // Rotary positions: pairs of features inside a head, half of all pairs for each axis.
    if (config.embedding % 4 !== 0) {
      throw wrong('embedding', `is ${config.embedding}, expected a multiple of 4`);
    }
    if ((config.embedding / config.heads) % 2 !== 0) {
      throw wrong(
        'heads',
        `makes heads ${config.embedding / config.heads} wide, expected an even width`,
      );
    }
    return createPublished(config, input, classes);
  },
  spikingConvNet({ neuron, ...changes }, input, classes) {
    const base = baselines.spikingConvNet;
    const config = { ...changed(base, changes), neuron: changedNeuron(base.neuron, neuron) };
    const { rows, columns } = requirePatches(input, config.patch);
    const shrinkage = 2 ** Math.max(0, config.channels.length - 2);
    if (rows % shrinkage !== 0 || columns % shrinkage !== 0) {
      throw wrong(
        'channels',
        `has ${config.channels.length - 1} stages, which need rows and columns of patches in ` +
          `multiples of ${shrinkage}; there are ${rows} × ${columns}`,
      );
    }
    return createSpikingConvNet(config, input, classes);
  },
  spikformer({ neuron, delays, ...changes }, input, classes) {
    const base = baselines.spikformer;
    const config = {
      ...changed(base, changes),
      delays: changed(base.delays!, delays),
      neuron: changedNeuron(base.neuron, neuron),
    };
    requirePatches(input, config.patch);
    requireStages(config);
    requireMultiple('embedding', config.embedding, 'heads', config.heads);
    return createSpikformer(config, input, classes);
  },
  linear({ ...changes }, input, classes) {
    return createLinear(changed(baselines.linear, changes), input, classes);
  },
  lempelZiv({ ...changes }, input, classes) {
    const config = changed(baselines.lempelZiv, changes);
    requirePatches(input, config.patch);
    return createLempelZiv(config, input, classes);
  },
};

/**
 * Makes the network that a checked configuration describes.
 *
 * @param input what it reads; `classes` is at least 1.
 * @throws SaccadeError of kind `config` where sizes don't fit, naming the field (`model.patch`, …).
 */
export function createModel(config: ModelConfig, input: InputShape, classes: number): Model {
  const create = creators[config.kind] as Creator<ModelConfig['kind']>;
  return create(config as ConfigOf<ModelConfig['kind']>, input, classes);
}

/** The settings with those that `changes` gives in place of their own; whatever else it has is left out. */
function changed<T extends object>(base: T, changes: Partial<T> = {}): T {
  const given = Object.entries(changes).filter(
    ([name, value]) => name in base && value !== undefined,
  );
  return { ...base, ...Object.fromEntries(given) };
}

function changedNeuron(base: NeuronConfig, { tau, ...changes }: NeuronChanges = {}): NeuronConfig {
  // JSON and checkpoints have no infinite numbers.
  const leak = tau === 'infinity' ? Infinity : tau;
  const full = { ...defaultNeuron, ...base };
  const config = changed<NeuronConfig>(full, { ...changes, tau: leak ?? base.tau });
  if (config.tau !== Infinity) return config;
  if (config.decayInput) {
    throw wrong('neuron.decayInput', 'divides the input by tau, infinity; expected false');
  }
  if (config.kind === 'plif' || config.kind === 'metaLif') {
    throw wrong('neuron.tau', `is infinity, from which ${config.kind} neurons cannot learn theirs`);
  }
  return config;
}

function wrong(field: string, message: string): SaccadeError {
  return new SaccadeError('config', message, { field: `model.${field}` });
}

/** Rows and columns of patches. */
function requirePatches(
  { height, width }: InputShape,
  patch: number,
): { rows: number; columns: number } {
  if (height % patch !== 0 || width % patch !== 0) {
    throw wrong(
      'patch',
      `is ${patch}, expected a divisor of the frame's ${height} × ${width} pixels`,
    );
  }
  return { rows: height / patch, columns: width / patch };
}

/** Stages of a stem that convolves halve rows and columns. */
function requireStages({ stem, patch }: { readonly stem: StemKind; readonly patch: number }): void {
  if (!hasStages(stem) || (patch >= 2 && Number.isInteger(Math.log2(patch)))) return;
  throw wrong('patch', `is ${patch}, expected 2, 4, 8, … for a ${stem} stem`);
}

function requireMultiple(of: string, value: number, field: string, divisor: number): void {
  if (value % divisor !== 0) {
    throw wrong(field, `is ${divisor}, expected a divisor of model.${of}, ${value}`);
  }
}

function requireTiles(field: string, window: number, extent: number): void {
  if (window !== 0 && extent % window !== 0) {
    throw wrong(
      field,
      `is ${window}, expected a divisor of the frame's ${extent} patches, or 0 for all of them`,
    );
  }
}
