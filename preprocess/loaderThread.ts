import { parentPort, workerData } from 'node:worker_threads';

import { SaccadeError } from '../engine/support/errors.js';
import { parseAugmentation } from './augmentations/index.js';
import { lazyShard, lazyTensors } from './cache/index.js';
import { type EpochOptions, loadAugmented } from './loader.js';
import type { LoadAnswer, LoaderThreadData, LoadRequest } from './loaderMessages.js';
import { representationByName } from './representations/index.js';

// A thread of `parallelLoader.ts`: answers each request with the batch that `loadAugmented` gives.

const data = workerData as LoaderThreadData;
const shards = new Map<string, ReturnType<typeof lazyShard>>();
const tensors = new Map<string, ReturnType<typeof lazyTensors>>();

/** What was made for a key, now or earlier. */
function once<T>(made: Map<string, T>, key: string, make: (key: string) => T): T {
  let value = made.get(key);
  if (value === undefined) made.set(key, (value = make(key)));
  return value;
}

const options: EpochOptions = {
  ...data,
  clips: data.clips.map((clip) => ({
    ...clip,
    shard: once(shards, clip.shard, lazyShard),
    tensors: clip.tensors === undefined ? undefined : once(tensors, clip.tensors, lazyTensors),
  })),
  representation: representationByName(data.representation),
  augmentations: data.augmentations.map((call) => parseAugmentation(call)),
};

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
