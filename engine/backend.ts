import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';

import { automaticOrder, type BackendName, backendNames, backendVariable } from './backendNames.js';
import './gradients.js';
import { SaccadeError } from './support/errors.js';

export { automaticOrder, type BackendName, backendNames, backendVariable };

/** What became of the attempt to start a backend. */
export interface BackendStatus {
  readonly name: BackendName;
  readonly live: boolean;
  /** Why it is not live, or how it is. */
  readonly detail: string;
  /** What a user can do about it. */
  readonly fix?: string;
}

const require = createRequire(import.meta.url);

const starters: Readonly<Record<BackendName, () => Promise<string>>> = {
  cuda: async () => {
    const { registerCudaBackend } = await import('./cuda/register.js');
    const { backend, device, products } = registerCudaBackend();
    await activate('cuda');
    const { deviceName, architecture, version, totalBytes } = backend.driver;
    return (
      `${deviceName} (compute capability ${architecture / 10}, ${(totalBytes / 2 ** 30).toFixed(0)} GiB), ` +
      `CUDA ${Math.floor(version / 1000)}.${(version % 1000) / 10}; NVRTC ${device.compiler.version}; ` +
      `products in ${products.precision}`
    );
  },
  native: async () => {
    const { registerNativeBackend } = await import('./native/register.js');
    const { threadsVariable } = await import('./native/addon.js');
    const addon = registerNativeBackend();
    await activate('native');
    const threads = addon.threads();
    return (
      `${addon.instructionSet()} of ${addon.instructionSets().join(', ')}; ` +
      `${threads} thread${threads === 1 ? '' : 's'} (${threadsVariable}); addon ${addon.path}`
    );
  },
  wasm: async () => {
    const wasm = await import('@tensorflow/tfjs-backend-wasm');
    const folder = dirname(require.resolve('@tensorflow/tfjs-backend-wasm'));
    wasm.setWasmPaths(folder + sep);
    await activate('wasm');
    return `WebAssembly with ${(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')) ? '' : 'no '}SIMD, one thread`;
  },
  cpu: async () => {
    await import('@tensorflow/tfjs-backend-cpu');
    await activate('cpu');
    return 'plain JavaScript, one thread';
  },
  tensorflow: async () => {
    const reasons: string[] = [];
    for (const name of ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']) {
      try {
        const { default: library } = (await import(name)) as { default: Partial<typeof tf> };
        const version = library.version_core;
        // Another TensorFlow.js keeps its backends to itself.
        if (version !== tf.version_core) {
          throw new Error(`is for TensorFlow.js ${version}, and this one is ${tf.version_core}`);
        }
        await activate('tensorflow');
        return name;
      } catch (error) {
        reasons.push(`${name}: ${(error as Error).message.split('\n')[0]}`);
      }
    }
    throw new Error(reasons.join('; '));
  },
};

const fixes: Readonly<Partial<Record<BackendName, string>>> = {
  cuda:
    'on a machine with an NVIDIA GPU, install its driver, NVRTC and cuBLASLt of CUDA 12 or 13 (their folders may be named in ' +
    'SACCADE_CUDA_LIBRARIES), and the package koffi',
  native:
    'install a C++17 compiler, make and Python 3, then run `npm rebuild saccade` (in a clone: `npm run native:build`)',
  wasm: 'reinstall with `npm ci`',
  cpu: 'reinstall with `npm ci`',
  tensorflow: 'install `@tensorflow/tfjs-node-gpu` (or `@tensorflow/tfjs-node`) beside Saccade',
};

async function activate(name: string): Promise<void> {
  if (!(await tf.setBackend(name))) throw new Error(`TensorFlow.js refused the backend ${name}`);
  await tf.ready();
}

/**
 * Starts a backend and makes it TensorFlow.js's current one. This is the one place where that happens.
 *
 * @param choice a backend's name or `auto`; by default the environment variable `SACCADE_BACKEND`,
 *   otherwise the first of `automaticOrder` that starts.
 * @throws SaccadeError of kind `usage` for an unknown name, `environment` where none starts.
 */
export async function selectBackend(
  choice: string = process.env[backendVariable] ?? 'auto',
): Promise<BackendStatus> {
  if (choice !== 'auto' && !(backendNames as readonly string[]).includes(choice)) {
    throw new SaccadeError(
      'usage',
      `unknown backend '${choice}', expected auto, ${backendNames.join(', ')}`,
      { field: 'backend' },
    );
  }
  const candidates = choice === 'auto' ? automaticOrder : [choice as BackendName];
  const failures: BackendStatus[] = [];
  for (const name of candidates) {
    const status = await startBackend(name);
    if (status.live) return status;
    failures.push(status);
  }
  throw new SaccadeError(
    'environment',
    `no backend starts (${failures.map(({ name, detail, fix }) => `${name}: ${detail}; ${fix}`).join('; ')})`,
    { field: 'backend' },
  );
}

/** Tries every backend in turn, for `saccade doctor`, and leaves the automatic choice selected. */
export async function inspectBackends(): Promise<readonly BackendStatus[]> {
  const statuses: BackendStatus[] = [];
  for (const name of backendNames) statuses.push(await startBackend(name));
  await selectBackend('auto');
  return statuses;
}

async function startBackend(name: BackendName): Promise<BackendStatus> {
  try {
    return { name, live: true, detail: await starters[name]() };
  } catch (error) {
    return { name, live: false, detail: (error as Error).message, fix: fixes[name] };
  }
}

/** Version of the tensor library, for reports. */
export const tensorLibraryVersion: string = tf.version_core;
