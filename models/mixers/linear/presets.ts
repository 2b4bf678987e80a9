import { z } from 'zod';

import { defineMixer, type MixerDefinition } from '../tokenMixer.js';
import { cellFields, createCell, plainCell, type CellSettings } from './cell.js';

/** Every slot as a setting, with the value that a preset gives it. */
function withDefaults(settings: CellSettings): z.ZodRawShape {
  return Object.fromEntries(
    Object.entries(cellFields).map(([name, field]) => [
      name,
      (field as z.ZodType).default(settings[name as keyof CellSettings]),
    ]),
  );
}

/** A filling of the cell's slots, each of which a configuration can still change. */
function preset(name: string, paper: string, slots: Partial<CellSettings>): MixerDefinition {
  return defineMixer({
    name,
    paper,
    fields: withDefaults({ ...plainCell, ...slots }),
    create: (settings, shape) => createCell(name, settings as CellSettings, shape),
  });
}

const transNormer: Partial<CellSettings> = {
  featureMap: 'silu',
  valueMap: 'silu',
  decay: 'annealed',
  normaliser: 'none',
  outputNorm: 'simpleRms',
};

const miras: Partial<CellSettings> = {
  featureMap: 'unit',
  update: 'miras',
  chunkTokens: 1,
  decay: 'scalar',
  normaliser: 'none',
  local: 'convolution',
  outputNorm: 'rms',
  outputGate: 'swish',
};

/** The linear mixers of the related work: one line each. */
export const linearPresets: readonly MixerDefinition[] = [
  preset('linearAttention', 'Katharopoulos et al., Transformers are RNNs, 2020', {}),
  preset('retention', 'Sun et al., Retentive Network, 2023', {
    featureMap: 'identity',
    decay: 'retention',
    normaliser: 'scaled',
    outputNorm: 'rms',
    outputGate: 'swish',
    position: 'rotary',
  }),
  // The same operator: the first computes all scores of a block, the second splits it into chunks.
  preset('lightning1', 'Qin et al., TransNormerLLM / Lightning Attention, 2023', {
    ...transNormer,
    outputGate: 'element',
  }),
  preset('lightning2', 'Qin et al., Lightning Attention-2, 2024', {
    ...transNormer,
    valueMap: 'none',
    decay: 'alibi',
  }),
  preset('transNormer', 'Qin et al., TransNormerLLM, 2023', {
    ...transNormer,
    position: 'linearised',
    outputGate: 'linear',
  }),
  preset('gatedLinearAttention', 'Yang et al., Gated Linear Attention, 2024', {
    featureMap: 'identity',
    decay: 'channel',
    normaliser: 'scaled',
    outputNorm: 'rms',
    outputGate: 'swish',
  }),
  preset('deltaNet', 'Yang et al., Parallelizing Linear Transformers with the Delta Rule, 2024', {
    featureMap: 'unit',
    update: 'delta',
    normaliser: 'none',
    local: 'convolution',
    outputNorm: 'rms',
  }),
  preset('gatedDeltaNet', 'Yang et al., Gated Delta Networks, 2025', {
    featureMap: 'unit',
    update: 'delta',
    decay: 'scalar',
    normaliser: 'none',
    local: 'convolution',
    outputNorm: 'rms',
    outputGate: 'swish',
  }),
  preset('titans', 'Behrouz et al., Titans, 2025', {
    featureMap: 'unit',
    update: 'titans',
    decay: 'scalar',
    normaliser: 'none',
    local: 'convolution',
    outputNorm: 'rms',
    outputGate: 'swish',
  }),
  preset('moneta', 'Behrouz et al., Miras, 2025', {
    ...miras,
    attentionalBias: 'power',
    retention: 'norm',
  }),
  preset('yaad', 'Behrouz et al., Miras, 2025', { ...miras, attentionalBias: 'huber' }),
  preset('memora', 'Behrouz et al., Miras, 2025', { ...miras, retention: 'simplex' }),
  preset('lightNet', 'Qin et al., You Only Scan Once (LightNet), 2024', {
    featureMap: 'siluQuery',
    decay: 'additive',
    normaliser: 'none',
    outputNorm: 'rms',
    outputGate: 'swish',
  }),
  preset('based', 'Arora et al., Simple Linear Attention (BASED), 2024', {
    featureMap: 'taylor',
    local: 'window',
  }),
  preset('hedgehog', 'Zhang et al., The Hedgehog & the Porcupine, 2024', {
    featureMap: 'hedgehog',
  }),
  preset('nalaFormer', 'Meng et al., NaLaFormer, 2025', {
    causal: false,
    featureMap: 'normAware',
    position: 'rotary',
    local: 'positional',
    outputGate: 'swish',
  }),
  preset('flowformer', 'Wu et al., Flowformer, 2022', {
    featureMap: 'sigmoid',
    normaliser: 'flow',
  }),
  preset('inLine', 'Han et al., Bridging the Divide, 2024', {
    featureMap: 'identity',
    normaliser: 'inLine',
    local: 'positional',
  }),
  preset('spikeGpt', 'Zhu et al., SpikeGPT, 2023', {
    featureMap: 'identity',
    update: 'weightedKeyValue',
    normaliser: 'none',
    local: 'shift',
    outputGate: 'element',
    outputSpikes: 'spikes',
  }),
  preset('rat', 'Wang et al., RAT, 2025', {
    featureMap: 'identity',
    update: 'chunkAverage',
    decay: 'channel',
    normaliser: 'none',
    outputGate: 'element',
  }),
  preset('localLinearAttention', 'Zuo et al., Local Linear Attention, 2025', {
    featureMap: 'identity',
    update: 'localLinear',
    normaliser: 'none',
  }),
  preset('spikingLinear', 'the attention of SpikMamba in the cell', {
    featureMap: 'spikes',
    epsilon: 1,
    valueMap: 'silu',
    outputGate: 'swish',
  }),
];
