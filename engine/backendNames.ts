// Apart from `backend.ts`, so that help can list backends without loading TensorFlow.js.

/** Which TensorFlow.js backend computes. */
export type BackendName = 'cuda' | 'native' | 'tensorflow' | 'wasm' | 'cpu';

/**
 * The order in which a backend is looked for when none is named: ours (the GPU first), TensorFlow where the user installed
 * it, then what runs everywhere, the faster one first (measured in docs/benchmarks.md).
 */
export const automaticOrder: readonly BackendName[] = [
  'cuda',
  'native',
  'tensorflow',
  'wasm',
  'cpu',
];

export const backendNames: readonly BackendName[] = automaticOrder;

/** The environment variable that names a backend. */
export const backendVariable = 'SACCADE_BACKEND';
