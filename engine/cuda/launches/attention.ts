import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

const attentionTypes = 'ppppppiiiiiiiif';
const threads = 128;

/** `source/attention.cu`. */
export function attention(device: Device): Kernels {
  const { backend } = device;
  function layout(values: readonly (DeviceArray | number | boolean)[], sizesAt: number) {
    const [groups, frames, tokens, features, heads] = values.slice(sizesAt) as number[];
    const [causal, normalise, epsilon, decays] = values.slice(sizesAt + 5) as [
      ...[boolean, boolean, number, number],
    ];
    const width = features / heads;
    const span = causal ? tokens : frames * tokens;
    const tile = width <= 64 ? 64 : 16;
    // Rows of fours, an odd number of them apart.
    const quads = Math.ceil(width / 4);
    const stride = 4 * (quads + 1 - (quads % 2));
    return {
      settings: [
        ...[groups, frames, tokens, features, heads, span],
        ...[normalise ? 1 : 0, decays, epsilon],
      ],
      definitions: { WIDTH: width, TILE: tile },
      blocks: groups * heads,
      /** Values of a memory and its key sum. */
      size: 4 * quads * (stride + 1),
      spans: (frames * tokens) / span,
      /** Values of two tiles, and one for each token. */
      tiles: 2 * tile * stride + tile,
      decays,
    };
  }
  function attentionForward(...values: (DeviceArray | number | boolean)[]): void {
    const { settings, definitions, blocks, size, tiles } = layout(values, 9);
    const arrays = values.slice(0, 9) as DeviceArray[];
    const kernel = device.kernel(
      'attention',
      'attentionForward',
      `${attentionTypes}ppp`,
      definitions,
    );
    const sharedBytes = 4 * (size + tiles);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    const all = [...arrays.slice(0, 6), ...settings, ...arrays.slice(6)];
    device.launch(kernel, [blocks], [threads], all, sharedBytes);
  }
  function attentionBackward(...values: (DeviceArray | number | boolean)[]): void {
    const { settings, definitions, blocks, size, spans, tiles, decays } = layout(values, 16);
    const arrays = values.slice(0, 16) as DeviceArray[];
    const kernel = device.kernel(
      'attention',
      'attentionBackward',
      `${attentionTypes}${'p'.repeat(11)}`,
      definitions,
    );
    const sharedBytes = 4 * (2 * size + tiles);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    const states = spans > 1 || decays > 0 ? blocks * (spans + 1) * size : 0;
    backend.scratch(states, (kept) => {
      const all = [...arrays.slice(0, 6), ...settings, ...arrays.slice(6), kept];
      device.launch(kernel, [blocks], [threads], all, sharedBytes);
    });
  }

  return { attentionForward, attentionBackward } as unknown as Kernels;
}
