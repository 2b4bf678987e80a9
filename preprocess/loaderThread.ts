import { parentPort, workerData } from 'node:worker_threads';

import { SaccadeError } from '../engine/support/errors.js';
import { batchBytes, type ClipBatch, loadAugmented, loadPlain } from './loader.js';
import {
  epochOptions,
  type LoadAnswer,
  type LoaderThreadData,
  type LoadRequest,
} from './loaderMessages.js';

// A thread of `parallelLoader.ts`: answers each request with the batch that `loadAugmented` or `loadPlain` gives.

const options = epochOptions(workerData as LoaderThreadData);
const validation = { ...options, clips: options.validation };

function load({ epoch, chosen, memory = newMemory() }: LoadRequest): ClipBatch {
  return epoch === undefined
    ? loadPlain(validation, chosen, memory)
    : loadAugmented(options, epoch, chosen, memory);
}

/** Large enough for every batch, so that it can be used again for any. */
function newMemory(): ArrayBuffer {
  return new ArrayBuffer(batchBytes(options));
}

function answer(request: LoadRequest): LoadAnswer {
  const { id } = request;
  try {
    return { id, batch: load(request) };
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
