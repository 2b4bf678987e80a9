import { loadAddon } from '../../engine/native/addon.js';

/** Backends that every op is tested on; `native` where its addon is there. */
export const testedBackends: readonly string[] = ['cpu', 'wasm', ...(hasAddon() ? ['native'] : [])];

/** The fastest of them, which models are tested on. */
export const bestBackend: string = testedBackends[testedBackends.length - 1];

function hasAddon(): boolean {
  try {
    loadAddon();
    return true;
  } catch (error) {
    console.warn(`native backend not tested: ${(error as Error).message}`);
    return false;
  }
}
