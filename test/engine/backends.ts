import { createRequire } from 'node:module';

import { loadAddon } from '../../engine/native/addon.js';

/** Backends that every op is tested on: `tensorflow` where its package is installed, `native` where its addon is there. */
export const testedBackends: readonly string[] = [
  'cpu',
  'wasm',
  ...(hasTensorFlow() ? ['tensorflow'] : []),
  ...(hasAddon() ? ['native'] : []),
];

/** The fastest of them, which models are tested on. */
export const bestBackend: string = testedBackends[testedBackends.length - 1];

function hasTensorFlow(): boolean {
  const require = createRequire(import.meta.url);
  const packages = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'];
  const installed = packages.some((name) => {
    try {
      require.resolve(name);
      return true;
    } catch {
      return false;
    }
  });
  if (!installed) {
    console.warn(`tensorflow backend not tested: absent (${packages.join(' or ')})`);
  }
  return installed;
}

function hasAddon(): boolean {
  try {
    loadAddon();
    return true;
  } catch (error) {
    console.warn(`native backend not tested: ${(error as Error).message}`);
    return false;
  }
}
