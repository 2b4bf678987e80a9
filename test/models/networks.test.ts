import { describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { countParameters, Initialiser } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import { describeConformance, inputShape, spikMamba } from './networkConformance.js';

const published = {
  kind: 'published',
  patch: 2,
  embedding: 8,
  depth: 2,
  heads: 2,
  feedForward: 16,
  // As in nano: so that the few neurons of a tiny network fire.
  neuron: { decayInput: false },
};
const spikformer = { kind: 'spikformer', patch: 2, embedding: 8, depth: 2, feedForward: 12 };
const spikingConvNet = { kind: 'spikingConvNet', patch: 2, channels: [6, 8, 10] };

describeConformance('spikmamba', spikMamba);
describeConformance('spikmamba: two blocks with a class token', {
  ...spikMamba,
  depth: 2,
  classToken: true,
});
describeConformance('spikmamba: bidirectional', { ...spikMamba, mode: 'bidirectional' });
describeConformance('spikmamba: bidirectional tubes, windows of the whole clip', {
  ...spikMamba,
  mode: 'bidirectional',
  scanOrder: 'tube',
  window: { frames: 0 },
});
describeConformance('spikmamba: tubes', { ...spikMamba, scanOrder: 'tube' });
describeConformance('spikmamba: tubes with a class token', {
  ...spikMamba,
  scanOrder: 'tube',
  classToken: true,
});
describeConformance('spikmamba: windows of 2 frames', { ...spikMamba, window: { frames: 2 } });
describeConformance('spikmamba: windows of all frames', { ...spikMamba, window: { frames: 0 } });
describeConformance('spikmamba: windows of 2 rows', { ...spikMamba, window: { rows: 2 } });
describeConformance('spikmamba: windows of 2 frames, 2 rows, 2 columns, a class token', {
  ...spikMamba,
  window: { frames: 2, rows: 2, columns: 2 },
  classToken: true,
});
describeConformance('spikmamba: kernels of 2 frames', { ...spikMamba, kernelFrames: 2 });
describeConformance('spikmamba: a convolutional stem', { ...spikMamba, stem: 'convolutional' });
const delays = { maxDelay: 3, motions: 4, size: 3 };
describeConformance('spikmamba: delta activations', { ...spikMamba, delta: {} });
describeConformance('spikmamba: delays', { ...spikMamba, stem: 'delayed', delays });
describeConformance('spikmamba: motions', { ...spikMamba, stem: 'motion', delays });
describeConformance('spikmamba: no temporal position, neurons without a leak', {
  ...spikMamba,
  temporalPosition: false,
  neuron: { tau: 'infinity', reset: 'soft' },
});
for (const mixer of ['gatedLinearAttention', 'gatedDeltaNet', 'spikeGpt']) {
  describeConformance(`spikmamba: ${mixer} through time`, { ...spikMamba, mixer: { name: mixer } });
}
describeConformance('spikmamba: inLine over each frame, a class token', {
  ...spikMamba,
  classToken: true,
  mixer: { name: 'inLine', causal: false },
  mixerOver: 'frame',
});
describeConformance('spikmamba: spiking attention through the clip', {
  ...spikMamba,
  mixer: { name: 'spikingLinear' },
  mixerOver: 'clip',
});
describeConformance('spikmamba: a hybrid of two mixers', {
  ...spikMamba,
  depth: 2,
  mixer: { name: 'lightning2' },
  hybrid: { full: { name: 'softmaxAttention', context: 6 }, ratio: 1 },
});
describeConformance('spikmamba: TransNormer with its gated unit', {
  ...spikMamba,
  mixer: { name: 'transNormer' },
  feedForwardKind: 'gated',
});
describeConformance('spikmamba: SpikeGPT with its channel mixing', {
  ...spikMamba,
  mixer: { name: 'spikeGpt' },
  feedForwardKind: 'receptance',
});
describeConformance('spikmamba: flows over the whole clip, both ways', {
  ...spikMamba,
  mode: 'bidirectional',
  mixer: { name: 'flowformer', causal: false },
  mixerOver: 'clip',
});
describeConformance('spikmamba: neighbourhoods of the clip', {
  ...spikMamba,
  mixer: { name: 'neighbourhood', frames: { window: 3 }, rows: { window: 3 } },
  mixerOver: 'clip',
});
describeConformance('spikmamba: routing through the clip, depthwise mixer first', {
  ...spikMamba,
  depth: 2,
  mixer: { name: 'depthwise', size: 3 },
  hybrid: { ratio: 1, full: { name: 'routingAttention', clusters: 3, members: 9, reach: 3 } },
  mixerOver: 'clip',
});
describeConformance('published', published);
describeConformance('spikingConvNet', spikingConvNet);
describeConformance('spikingConvNet: the stem alone', { ...spikingConvNet, channels: [6] });
describeConformance('spikformer', spikformer);
describeConformance('spikformer: convolutional stem', {
  ...spikformer,
  stem: 'convolutional',
  patch: 4,
});
describeConformance('spikformer: stem of Max-Former', { ...spikformer, stem: 'max', patch: 4 });
describeConformance('spikformer: stem of Spikformer V2', {
  ...spikformer,
  stem: 'residual',
  patch: 4,
});
describeConformance('spikformer: delays', { ...spikformer, stem: 'delayed', delays });
describeConformance('spikformer: motions', { ...spikformer, stem: 'motion', delays });
describeConformance('spikformer: adapting thresholds', { ...spikformer, neuron: { kind: 'alif' } });
describeConformance('spikingConvNet: learned time constants', {
  ...spikingConvNet,
  neuron: { kind: 'plif' },
});
describeConformance('spikingConvNet: learned neurons', {
  ...spikingConvNet,
  neuron: { kind: 'metaLif' },
});
describeConformance('linear', { kind: 'linear' });
describeConformance('lempelZiv', { kind: 'lempelZiv', patch: 2 });
describeConformance('lempelZiv: trains of 3 frames', { kind: 'lempelZiv', patch: 1, window: 3 });
describeConformance('linear: plain counts', { kind: 'linear', logarithm: false });

describe('modelSchema', () => {
  it('fills in the preset alone', () => {
    expect(modelSchema.parse({ kind: 'spikmamba' })).toEqual({ kind: 'spikmamba', preset: 'nano' });
    expect(modelSchema.parse(published)).toEqual({ ...published, preset: 'published' });
  });

  it.each([
    [{ kind: 'transformer' }, 'kind'],
    [{ kind: 'spikmamba', preset: 'huge' }, 'preset'],
    [{ kind: 'spikmamba', patches: 8 }, ''],
    [{ kind: 'spikmamba', patch: 0 }, 'patch'],
    [{ kind: 'spikmamba', window: { frames: -1 } }, 'window.frames'],
    [{ kind: 'spikmamba', window: { frame: 1 } }, 'window'],
    [{ kind: 'spikmamba', neuron: { tau: 1 } }, 'neuron.tau'],
    [{ kind: 'spikmamba', neuron: { relaxed: true } }, 'neuron'],
    [{ kind: 'spikmamba', neuron: { kind: 'izhikevich' } }, 'neuron.kind'],
    [{ kind: 'published', window: { frames: 1 } }, ''],
    [{ kind: 'spikingConvNet', channels: [] }, 'channels'],
    [{ kind: 'spikformer', preset: 'nano' }, ''],
    [{ kind: 'linear', patch: 2 }, ''],
    [{ kind: 'lempelZiv', window: -1 }, 'window'],
    [{ kind: 'spikmamba', mixer: { name: 'quadratic' } }, 'mixer.name'],
    [{ kind: 'spikmamba', mixer: { name: 'deltaNet', decay: 'never' } }, 'mixer.decay'],
    [{ kind: 'spikmamba', mixerOver: 'space' }, 'mixerOver'],
    [{ kind: 'spikmamba', delta: { step: 0 } }, 'delta.step'],
    [{ kind: 'spikmamba', delays: { maxDelay: 0 } }, 'delays.maxDelay'],
    [{ kind: 'spikformer', delays: { size: 4 } }, 'delays.size'],
  ])('refuses %j', (config, path) => {
    const result = modelSchema.safeParse(config);
    expect(result.success).toBe(false);
    expect(result.error!.issues[0].path.join('.')).toBe(path);
  });
});

describe('createModel', () => {
  it.each([
    [{ ...spikMamba, patch: 3 }, 'model.patch', '8 × 8'],
    [{ ...spikMamba, heads: 3 }, 'model.heads', 'model.embedding, 8'],
    [{ ...spikMamba, window: { rows: 3 } }, 'model.window.rows', '4 patches'],
    [{ ...spikMamba, window: { columns: 3 } }, 'model.window.columns', '4 patches'],
    [{ ...spikMamba, mixer: { name: 'nalaFormer' } }, 'model.mixer', 'looks ahead'],
    [
      { ...spikMamba, mixer: { name: 'deltaNet', decay: 'channel' } },
      'model.mixer.decay',
      'perHead',
    ],
    [{ ...spikMamba, stem: 'max', patch: 1 }, 'model.patch', '2, 4, 8'],
    [{ ...spikMamba, stem: 'delayed', kernelFrames: 2 }, 'model.kernelFrames', 'expected 1'],
    [{ ...spikMamba, stem: 'max', kernelFrames: 2 }, 'model.kernelFrames', 'expected 1'],
    [{ ...spikMamba, hybrid: { ratio: 3 } }, 'model.hybrid', 'model.mixer'],
    [{ ...published, neuron: { tau: 'infinity' } }, 'model.neuron.decayInput', 'expected false'],
    [{ ...spikformer, neuron: { kind: 'plif', tau: 'infinity' } }, 'model.neuron.tau', 'plif'],
    [{ ...published, patch: 5 }, 'model.patch', '8 × 8'],
    [{ ...published, embedding: 6 }, 'model.embedding', 'multiple of 4'],
    [{ ...published, heads: 8 }, 'model.heads', 'even width'],
    [{ ...published, heads: 3 }, 'model.heads', 'model.embedding, 8'],
    [{ ...spikformer, heads: 5 }, 'model.heads', 'model.embedding, 8'],
    [{ ...spikformer, stem: 'max', patch: 1 }, 'model.patch', '2, 4, 8'],
    [{ ...spikformer, patch: 16 }, 'model.patch', '8 × 8'],
    [{ kind: 'lempelZiv', patch: 3 }, 'model.patch', '8 × 8'],
    [{ ...spikingConvNet, patch: 7 }, 'model.patch', '8 × 8'],
    [{ ...spikingConvNet, channels: [4, 4, 4, 4, 4] }, 'model.channels', '4 × 4'],
  ])('refuses sizes that do not fit: %j', (config, field, expected) => {
    const parsed = modelSchema.parse(config);
    try {
      createModel(parsed, inputShape, 3);
    } catch (error) {
      expect(error).toBeInstanceOf(SaccadeError);
      expect((error as SaccadeError).kind).toBe('config');
      expect((error as SaccadeError).place.field).toBe(field);
      expect((error as SaccadeError).message).toContain(expected);
      return;
    }
    expect.unreachable('nothing was refused');
  });

  it('builds every preset at its size', async () => {
    await selectBackend(bestBackend);
    const small = { bins: 12, channels: 2, height: 32, width: 32 };
    const paper = { bins: 16, channels: 3, height: 128, width: 128 };
    const size = (config: unknown, input: typeof small): number => {
      const parameters = createModel(modelSchema.parse(config), input, 10).initialise(
        new Initialiser(1),
      );
      return countParameters(parameters);
    };
    // The baselines are nano's equals.
    const nano = size({ kind: 'spikmamba' }, small);
    expect(nano).toBeLessThan(60_000);
    for (const kind of ['spikingConvNet', 'spikformer']) {
      expect(Math.abs(size({ kind }, small) / nano - 1)).toBeLessThan(0.15);
    }
    expect(size({ kind: 'linear' }, small)).toBe(2 * 32 * 32 * 10 + 10);
    expect(size({ kind: 'lempelZiv' }, small)).toBe(2 * 2 * 8 * 8 * 10 + 10);
    expect(size({ kind: 'spikmamba', preset: 'small' }, small)).toBeGreaterThan(5 * nano);
    expect(size({ kind: 'spikmamba', preset: 'base' }, paper)).toBeGreaterThan(5e6);
    // 2.8 M in the published code, of which 0.76 M take no part.
    expect(Math.abs(size({ kind: 'published' }, paper) / 2.04e6 - 1)).toBeLessThan(0.05);
  });
});
