import { ComputeThread } from '../engine/computeThread.js';
import type modelTasks from './modelTasks.js';
import type { ModelDescription, ModelSetup } from './modelTasks.js';

type ModelTasks = Awaited<ReturnType<typeof modelTasks>>;

/**
 * A trained model in a thread of its own: predictions for a service whose event loop must go on turning.
 *
 *     const model = await ModelThread.open({ path: 'runs/gestures' });
 *     const probabilities = await model.predict(frames);
 *     await model.close();
 */
export class ModelThread {
  private constructor(
    private readonly thread: ComputeThread<ModelTasks>,
    readonly description: ModelDescription,
  ) {}

  /** @throws SaccadeError as `loadModel` and `selectBackend` do. */
  static async open(setup: ModelSetup): Promise<ModelThread> {
    const module = new URL('./modelTasks.js', import.meta.url);
    const thread = await ComputeThread.start<ModelTasks, ModelSetup>(module, setup);
    return new ModelThread(thread, await thread.run('describe', undefined as never));
  }

  /**
   * Classifies whole clips.
   *
   * @param values `[batch, time, channels, height, width]` as `description.input` says, row-major.
   * @param transfer whether the array is handed over, not copied: it is then empty here.
   * @returns class probabilities after the last frame, `[batch, classes]`.
   * @throws SaccadeError of kind `input` where the values do not fit the shape, `interrupted` where the
   *   thread is closed meanwhile.
   */
  predict(values: Float32Array<ArrayBuffer>, batch = 1, transfer = false): Promise<Float32Array> {
    const options = transfer ? { transfer: [values.buffer] } : {};
    return this.thread.run('predict', { values, batch }, options);
  }

  /** Ends the thread; predictions that it still owes are rejected. */
  close(): Promise<void> {
    return this.thread.close();
  }
}
