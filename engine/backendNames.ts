// Apart from `backend.ts`, so that help can list backends without loading TensorFlow.js.

/** Which TensorFlow.js backend computes. */
export type BackendName = 'native' | 'wasm' | 'cpu' | 'tensorflow';

/**
 * The order in which a backend is looked for when none is named: fastest first (docs/benchmarks.md).
 * `tensorflow` is used on request.
 */
export const automaticOrder: readonly BackendName[] = ['native', 'wasm', 'cpu'];

export const backendNames: readonly BackendName[] = ['native', 'wasm', 'cpu', 'tensorflow'];

/** The environment variable that names a backend. */
export const backendVariable = 'SACCADE_BACKEND';
