import * as tf from '@tensorflow/tfjs-core';

import { overrideHostKernel } from '../fused.js';
import { loadAddon, type Addon } from './addon.js';
import { NativeBackend, type KernelCall } from './backend.js';
import { kernels } from './kernels/index.js';
import { ops } from './ops/index.js';

let registered: Addon | undefined;

/**
 * Registers the backend `native` with TensorFlow.js: every kernel of `cpu`, ours in their place.
 *
 * @returns the addon that computes.
 * @throws Error with the reason, where the addon can't be loaded.
 */
export function registerNativeBackend(): Addon {
  if (registered !== undefined) return registered;
  const addon = loadAddon();
  tf.registerBackend('native', () => new NativeBackend(addon), 3);
  const byName = new Map(kernels(addon).map((kernel) => [kernel.name, kernel]));
  for (const config of tf.getKernelsForBackend('cpu')) {
    const kernel = byName.get(config.kernelName);
    byName.delete(config.kernelName);
    // Fused ops registered themselves (engine/fused.ts).
    if (tf.getKernel(config.kernelName, 'native') !== undefined) continue;
    const fallback = config.kernelFunc;
    const kernelFunc: tf.KernelFunc =
      kernel === undefined
        ? fallback
        : (call) => kernel.run(call as unknown as KernelCall) ?? fallback(call);
    tf.registerKernel({ ...config, backendName: 'native', kernelFunc });
  }
  if (byName.size > 0) throw new Error(`no such kernels: ${[...byName.keys()].join(', ')}`);
  for (const [name, kernel] of Object.entries(ops(addon.kernels))) {
    overrideHostKernel('native', name, kernel);
  }
  registered = addon;
  return addon;
}
