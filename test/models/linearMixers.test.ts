import { linearPresets } from '../../models/mixers/linear/presets.js';
import { describeMixer, type MixerCase } from './mixerConformance.js';

/** Settings that fit the suite's small tokens, by preset. */
const changes: Readonly<Record<string, Partial<MixerCase> & { settings?: object }>> = {
  gatedLinearAttention: { settings: { gateRank: 3 } },
  transNormer: { settings: { layer: 1, layers: 3 } },
  based: { settings: { window: 3 } },
  rat: { settings: { gateRank: 3, chunkTokens: 4 } },
  spikeGpt: { smooth: { name: 'spikeGpt', outputSpikes: 'smoothSpikes' } },
  spikingLinear: { smooth: { name: 'spikingLinear', featureMap: 'smoothSpikes' } },
};

for (const { name } of linearPresets) {
  const { settings = {}, ...rest } = changes[name] ?? {};
  describeMixer(name, { config: { name, ...settings }, ...rest });
}

const frames = { rows: 2, columns: 3 };
describeMixer('gatedLinearAttention over patches', {
  config: { name: 'gatedLinearAttention', gateRank: 3 },
  shape: frames,
});
describeMixer('spikingLinear over patches, with positions', {
  config: { name: 'spikingLinear', position: 'rotary' },
  smooth: { name: 'spikingLinear', position: 'rotary', featureMap: 'smoothSpikes' },
  shape: frames,
});
for (const name of ['nalaFormer', 'flowformer', 'inLine', 'lightNet', 'hedgehog']) {
  describeMixer(`${name} over patches, both ways`, {
    config: { name, causal: false },
    shape: frames,
  });
}

for (const causal of [true, false]) {
  describeMixer(`lightNet with positions, ${causal ? 'causal' : 'both ways'}`, {
    config: { name: 'lightNet', causal, position: 'linearisedGrid', local: 'toeplitz' },
    shape: frames,
  });
}
describeMixer('gatedLinearAttention with linearised positions and Toeplitz sums', {
  config: { name: 'gatedLinearAttention', gateRank: 3, position: 'linearised', local: 'toeplitz' },
});

for (const name of ['moneta', 'yaad', 'memora']) {
  describeMixer(`${name} in chunks of 4 tokens`, { config: { name, chunkTokens: 4 } });
}
describeMixer('moneta over patches, with a simplex', {
  config: { name: 'moneta', retention: 'simplex', simplexSum: 4, chunkTokens: 5 },
  shape: frames,
});

describeMixer('inLine with dynamic convolutions', {
  config: { name: 'inLine', local: 'dynamic' },
  shape: frames,
});
describeMixer('selectiveStateSpace', {
  config: { name: 'selectiveStateSpace', states: 3, deltaRank: 2 },
});
describeMixer('selectiveStateSpace over patches', {
  config: { name: 'selectiveStateSpace', states: 3, deltaRank: 2, expand: 1 },
  shape: frames,
});
for (const windowFrames of [0, 1, 2]) {
  describeMixer(`spikMambaAttention, windows of ${windowFrames} frames`, {
    config: { name: 'spikMambaAttention', windowFrames },
    smooth: { name: 'spikMambaAttention', windowFrames, smooth: true },
    shape: frames,
  });
}
