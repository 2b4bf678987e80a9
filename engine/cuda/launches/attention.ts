import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

const attentionTypes = 'ppppppiiiiiiiiif';

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
    const settings = [groups, frames, tokens, features, heads, width, span];
    return {
      settings: [...settings, normalise ? 1 : 0, decays, epsilon],
      blocks: groups * heads,
      width,
      spans: (frames * tokens) / span,
      threads: width >= 32 ? 256 : width >= 16 ? 128 : 64,
    };
  }
  function attentionForward(...values: (DeviceArray | number | boolean)[]): void {
    const { settings, blocks, width, threads } = layout(values, 9);
    const arrays = values.slice(0, 9) as DeviceArray[];
    const kernel = device.kernel('attention', 'attentionForward', `${attentionTypes}ppp`);
    const sharedBytes = 4 * (width * width + width + 32 * width);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    const all = [...arrays.slice(0, 6), ...settings, ...arrays.slice(6)];
    device.launch(kernel, [blocks], [threads], all, sharedBytes);
  }
  function attentionBackward(...values: (DeviceArray | number | boolean)[]): void {
    const { settings, blocks, width, spans, threads } = layout(values, 16);
    const arrays = values.slice(0, 16) as DeviceArray[];
    const kernel = device.kernel(
      'attention',
      'attentionBackward',
      `${attentionTypes}${'p'.repeat(11)}`,
    );
    const sharedBytes = 4 * (2 * (width * width + width) + 32 * width + 32);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    backend.scratch(blocks * (spans + 1) * (width * width + width), (states) => {
      const all = [...arrays.slice(0, 6), ...settings, ...arrays.slice(6), states];
      device.launch(kernel, [blocks], [threads], all, sharedBytes);
    });
  }

  return { attentionForward, attentionBackward } as unknown as Kernels;
}
