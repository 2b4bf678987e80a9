import type * as tf from '@tensorflow/tfjs-core';

/** A reduction that goes on beside other work. */
export interface Reduction {
  /** Waits for it, if a device does not order the work itself. The caller disposes the results. */
  finish(): tf.Tensor[];
}

/**
 * What processes that work on the same thing do together. All of them must call the same methods in the same order with
 * the same shapes; each call waits for the others, however long they take.
 *
 * @throws SaccadeError of kind `environment` from every method, naming the process that ended before its time.
 */
export interface Transport {
  /** Number of this process, 0 … `world` - 1. */
  readonly rank: number;
  /** Number of processes. */
  readonly world: number;
  /**
   * Starts to add, or to average, float32 tensors elementwise over all processes. Every process gets the same bits:
   * values are added in one order.
   */
  reduce(tensors: readonly tf.Tensor[], operation: 'sum' | 'mean'): Reduction;
  /** Process 0's values of float32 tensors. The caller disposes the results. */
  broadcast(tensors: readonly tf.Tensor[]): tf.Tensor[];
  /** Process 0's text, whatever the others give. */
  shareText(text: string): string;
  /** Whether any process says yes. Also a barrier: it returns when all have called it. */
  any(flag: boolean): boolean;
  /** Leaves. Those that still wait for this process fail. */
  close(): Promise<void>;
}
