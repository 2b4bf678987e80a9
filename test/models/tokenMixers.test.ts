import { describeMixer } from './mixerConformance.js';

describeMixer('softmax attention', { config: { name: 'softmaxAttention' } });
describeMixer('softmax attention over frames of 2 × 3 patches', {
  config: { name: 'softmaxAttention' },
  shape: { rows: 2, columns: 3 },
});
describeMixer('softmax attention, both ways', {
  config: { name: 'softmaxAttention', causal: false },
});
describeMixer('gated attention', { config: { name: 'gatedAttention' } });
describeMixer('softmax attention, gated by head', {
  config: { name: 'softmaxAttention', outputGate: 'head' },
});
describeMixer('softmax attention in each frame', {
  config: { name: 'softmaxAttention', context: 1 },
  shape: { rows: 2, columns: 1 },
});
describeMixer('softmax attention to the last 4 frames', {
  config: { name: 'softmaxAttention', context: 4 },
  shape: { rows: 2, columns: 1 },
});
describeMixer('no mixing of tokens', {
  config: { name: 'activator' },
  shape: { rows: 2, columns: 2 },
});
