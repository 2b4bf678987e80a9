import type { MixerConfig } from '../../models/mixers/registry.js';
import { describeMixer } from './mixerConformance.js';

// What a mask chooses jumps; so finite differences are taken where it chooses everything.
const everything = {
  routingAttention: { name: 'routingAttention', clusters: 1, members: 200 },
  seerAttention: { name: 'seerAttention', threshold: 0 },
  hipAttention: { name: 'hipAttention', ranges: 200 },
  hyperAttention: { name: 'hyperAttention', samples: 200 },
} satisfies Record<string, MixerConfig>;

const grid = { rows: 2, columns: 3 };

describeMixer('neighbourhood attention', { config: { name: 'neighbourhood' } });
describeMixer('neighbourhood attention of strided, dilated windows', {
  config: {
    name: 'neighbourhood',
    frames: { window: 3, dilation: 2, stride: 2, causal: true },
    rows: { window: 2 },
    columns: { window: 2, stride: 2 },
    queryTile: { frames: 2, rows: 1, columns: 2 },
    keyTile: { frames: 3, rows: 2, columns: 2 },
  },
  shape: grid,
});
describeMixer('neighbourhood attention, both ways in time', {
  config: { name: 'neighbourhood', frames: { window: 5, causal: false } },
});
describeMixer('power attention', { config: { name: 'powerAttention', furthest: 8 } });
describeMixer('power attention over frames of patches', {
  config: { name: 'powerAttention', window: 1, furthest: 4 },
  shape: grid,
});
describeMixer('S2 attention', { config: { name: 's2Attention', furthest: 9 } });
describeMixer('S2 attention over frames of patches', {
  config: { name: 's2Attention', blockFrames: 1, furthest: 20 },
  shape: grid,
});
describeMixer('windows of varying size', {
  config: { name: 'varyingWindows', columns: 3 },
  shape: { rows: 2, columns: 6 },
});
describeMixer('positional attention', { config: { name: 'positionalAttention', frames: 5 } });
describeMixer('positional attention over frames of patches', {
  config: { name: 'positionalAttention', frames: 3 },
  shape: grid,
});
describeMixer('routing attention', {
  config: { name: 'routingAttention', clusters: 3, members: 4, reach: 9 },
  smooth: everything.routingAttention,
});
describeMixer('routing attention over frames of patches', {
  config: { name: 'routingAttention', clusters: 3, members: 8, reach: 3 },
  shape: grid,
  smooth: everything.routingAttention,
});
describeMixer('routing attention, both ways', {
  config: { name: 'routingAttention', clusters: 3, members: 8, causal: false },
  smooth: everything.routingAttention,
});
describeMixer('seer attention', {
  config: { name: 'seerAttention', top: 2, keyTile: { frames: 2 }, reach: 12 },
  smooth: everything.seerAttention,
});
describeMixer('seer attention over frames of patches, by threshold', {
  config: {
    name: 'seerAttention',
    threshold: 0.1,
    queryTile: { rows: 2, columns: 2 },
    keyTile: { frames: 2, rows: 1, columns: 2 },
    reach: 7,
  },
  shape: grid,
  smooth: everything.seerAttention,
});
describeMixer('seer attention, both ways', {
  config: { name: 'seerAttention', top: 2, keyTile: { frames: 2 }, causal: false },
  smooth: everything.seerAttention,
});
describeMixer('HiP attention', {
  config: { name: 'hipAttention', ranges: 2, leaf: 2, reach: 12 },
  smooth: everything.hipAttention,
});
describeMixer('HiP attention over frames of patches', {
  config: {
    name: 'hipAttention',
    ranges: 3,
    leaf: 2,
    reach: 4,
    queryTile: { rows: 1, columns: 2 },
  },
  shape: grid,
  smooth: everything.hipAttention,
});
describeMixer('HiP attention, both ways', {
  config: { name: 'hipAttention', ranges: 2, leaf: 2, causal: false },
  smooth: everything.hipAttention,
});
describeMixer('hyper attention', {
  config: { name: 'hyperAttention', block: 4, samples: 5, bits: 3 },
  smooth: everything.hyperAttention,
});
describeMixer('hyper attention, causal', {
  config: {
    name: 'hyperAttention',
    causal: true,
    leaf: 2,
    block: 2,
    samples: 2,
    bits: 3,
    reach: 12,
  },
  smooth: { ...everything.hyperAttention, causal: true, leaf: 2 },
});
describeMixer('hyper attention over frames of patches, causal', {
  config: {
    name: 'hyperAttention',
    causal: true,
    leaf: 1,
    block: 3,
    samples: 4,
    bits: 3,
    reach: 5,
  },
  shape: grid,
  smooth: { ...everything.hyperAttention, causal: true, leaf: 1 },
});

describeMixer('depthwise mixer', {
  config: { name: 'depthwise', size: 3 },
  smooth: { name: 'depthwise', size: 3, smooth: true },
  shape: grid,
});

// Gates as those of Gated Attention stand before the last projection of each.
for (const config of [
  { name: 'neighbourhood', outputGate: 'element' },
  { name: 'positionalAttention', frames: 3, outputGate: 'head' },
  { name: 'varyingWindows', columns: 3, outputGate: 'swish' },
]) {
  describeMixer(`${config.name} with a gate`, { config, shape: grid });
}
