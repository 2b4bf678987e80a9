/**
 * TensorFlow.js's own tests on the backend that `SUITE_BACKEND` names, as one script: `tfjs.mjs` bundles
 * it, so that the tests, the backends and ours share one copy of TensorFlow.js's sources.
 */
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-backend-cpu';

import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util.js';

import { registerCudaBackend } from '../../engine/cuda/register.js';
import { registerNativeBackend } from '../../engine/native/register.js';

const backendName = process.env.SUITE_BACKEND ?? 'native';
if (backendName === 'native') registerNativeBackend();
if (backendName === 'cuda') registerCudaBackend();
setTestEnvs([{ name: 'suite', backendName, isDataSync: true }]);
