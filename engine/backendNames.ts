// Apart from `backend.ts`, so that help can list backends without loading TensorFlow.js.

/** Which TensorFlow.js backend computes. */
export type BackendName = 'wasm' | 'cpu' | 'tensorflow';

/**
 * The order in which a backend is looked for when none is named. `wasm` trains the demo fastest of
 * those that install everywhere (measured in docs/benchmarks.md); `tensorflow` is used on request.
 */
export const automaticOrder: readonly BackendName[] = ['wasm', 'cpu'];

export const backendNames: readonly BackendName[] = ['wasm', 'cpu', 'tensorflow'];

/** The environment variable that names a backend. */
export const backendVariable = 'SACCADE_BACKEND';
