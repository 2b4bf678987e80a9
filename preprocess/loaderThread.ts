import { parentPort, workerData } from 'node:worker_threads';

import { SaccadeError } from '../engine/support/errors.js';
import { loadAugmented } from './loader.js';
import {
  epochOptions,
  type LoadAnswer,
  type LoaderThreadData,
  type LoadRequest,
} from './loaderMessages.js';

// A thread of `parallelLoader.ts`: answers each request with the batch that `loadAugmented` gives.

const options = epochOptions(workerData as LoaderThreadData);

function answer({ id, epoch, chosen }: LoadRequest): LoadAnswer {
  try {
    return { id, batch: loadAugmented(options, epoch, chosen) };
  } catch (error) {
    const { message, stack } = error as Error;
    return error instanceof SaccadeError
      ? { id, failure: { kind: error.kind, message } }
      : { id, failure: { message: stack ?? message } };
  }
}

parentPort?.on('message', (request: LoadRequest) => {
  const answered = answer(request);
  const moved = 'batch' in answered ? [answered.batch.inputs.buffer as ArrayBuffer] : [];
  parentPort?.postMessage(answered, moved);
});
