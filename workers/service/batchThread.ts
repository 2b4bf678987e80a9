import { ComputeThread } from '../../engine/computeThread.js';
import type { StoredClipState } from '../../models/clipStates.js';
import type { ModelSetup } from '../modelTasks.js';
import type batchTasks from './batchTasks.js';
import type { BinBatch, BinBatchResult, ServedModel } from './batchTasks.js';

type BatchTasks = Awaited<ReturnType<typeof batchTasks>>;

/** A model that steps the states of streams, which it keeps. */
export interface SteppedModel {
  readonly description: ServedModel;
  step(batch: BinBatch): Promise<BinBatchResult>;
  /** The state of a stream; undefined where it has had no bin. */
  state(stream: number): Promise<StoredClipState | undefined>;
  /** @throws SaccadeError of kind `input` where it is not a state of this model. */
  restore(stream: number, state: StoredClipState): Promise<void>;
  release(stream: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * The model in a thread of its own.
 *
 * @throws SaccadeError as `loadModel` and `selectBackend` do.
 */
export async function openBatchThread(setup: ModelSetup): Promise<SteppedModel> {
  const module = new URL('./batchTasks.js', import.meta.url);
  const thread = await ComputeThread.start<BatchTasks, ModelSetup>(module, setup);
  return {
    description: await thread.run('describe', undefined as never),
    step: (batch) => thread.run('step', batch, { transfer: [batch.values.buffer as ArrayBuffer] }),
    state: (stream) => thread.run('state', stream),
    restore: (stream, state) => thread.run('restore', { stream, state }),
    release: (stream) => thread.run('release', stream),
    close: () => thread.close(),
  };
}
