import * as tf from '@tensorflow/tfjs-core';

import type { Graph } from '../../engine/graphs.js';

/** What was recorded: graphs made, replays of all of them, graphs not disposed. */
export interface Recordings {
  graphs: number;
  replays: number;
  live: number;
}

/**
 * Lets the current backend, whose tensors lie in host memory, record runs until `stop`: a graph is its run, done
 * again at each replay. Tensors change where they lie, as on a device.
 *
 * @param refuse is called before each recording.
 */
export function startRecording(refuse: () => void = () => undefined): {
  recordings: Recordings;
  stop: () => void;
} {
  const recordings: Recordings = { graphs: 0, replays: 0, live: 0 };
  const backend = tf.backend() as unknown as {
    capture?: (run: () => void) => Graph;
    assign?: (target: tf.TensorInfo, source: tf.TensorInfo) => void;
    data: { get(id: object): { values: Float32Array } };
  };
  backend.capture = (run) => {
    refuse();
    recordings.graphs++;
    recordings.live++;
    return {
      replay: () => {
        recordings.replays++;
        run();
      },
      dispose: () => void recordings.live--,
    };
  };
  backend.assign = (target, source) =>
    backend.data.get(target.dataId).values.set(backend.data.get(source.dataId).values);
  const stop = (): void => {
    delete backend.capture;
    delete backend.assign;
  };
  return { recordings, stop };
}

/** `startRecording` while `use` runs. */
export function withRecording(use: (recordings: Recordings) => void, refuse?: () => void): void {
  const { recordings, stop } = startRecording(refuse);
  try {
    use(recordings);
  } finally {
    stop();
  }
}
