import * as tf from '@tensorflow/tfjs-core';

import { scatterSpikes, type DelayLines } from '../delays/delayLines.js';
import { toDelayLines } from '../delays/delaySynapse.js';
import { scatterEvents, toMotionTaps, type MotionEvent, type MotionTaps } from '../delays/motionDelay.js'; // prettier-ignore
import type { Model } from '../model.js';
import { withForms, type StatefulForms } from './forms.js';

/**
 * A trained model whose layers with delays run event by event: each event is scattered along its lines of whole frames, or
 * along the taps of its motions, at a cost of events × lines. The state holds what is under way in place of the frames that
 * are past, `[clips, …, maxDelay, …]`, the next frame's first. Layers without delays stay as they are; logits are the model's.
 * A recorder gets the additions under `work`, as multiply-accumulates.
 */
export function delayLineModel(model: Model): Model {
  // What is made of the parameters, as long as they are the same tensors.
  const lines = new WeakMap<tf.Tensor, DelayLines>();
  const taps = new WeakMap<tf.Tensor, MotionTaps>();
  const forms: StatefulForms = {
    delays(state, parameters, x, config, { recorder, path }) {
      const [batch, time, tokens, inputs] = x.shape as [number, number, number, number];
      const { outputs, maxDelay } = config;
      const layer = remembered(lines, parameters.delay, () => toDelayLines(parameters, config));
      const values = x.dataSync();
      const output = new Float32Array(batch * time * tokens * outputs);
      let macs = 0;
      const pending = eachStream(state?.pending, batch * tokens, maxDelay * outputs, (before, stream) => {
        let buffer = { frame: 0, pending: before };
        for (let t = 0; t < time; t++) {
          const token = stream % tokens;
          const at = (Math.floor(stream / tokens) * time + t) * tokens + token;
          const result = scatterSpikes(layer, nonZero(values, at * inputs, inputs), buffer);
          buffer = result.buffer;
          macs += result.additions;
          output.set(result.output, at * outputs);
        }
        return buffer;
      }, outputs); // prettier-ignore
      recorder?.work.set(path, { macs, denseMacs: x.size * outputs });
      return {
        output: tf.tensor(output, [batch, time, tokens, outputs]),
        state: { pending: tf.tensor(pending, [batch, tokens, maxDelay, outputs]) },
      };
    },
    motions(state, parameters, x, config, { recorder, path }) {
      const [batch, time, height, width, polarities] = x.shape as [number, number, number, number, number]; // prettier-ignore
      const { motions, maxDelay, size } = config;
      const layer = remembered(taps, parameters.kernel, () => toMotionTaps(parameters, config));
      const values = x.dataSync();
      const area = height * width * motions;
      const output = new Float32Array(batch * time * area);
      let macs = 0;
      const pending = eachStream(state?.pending, batch, maxDelay * area, (before, clip) => {
        let buffer = { frame: 0, height, width, pending: before };
        for (let t = 0; t < time; t++) {
          const at = clip * time + t;
          const events = eventsOf(values, at * height * width * polarities, [height, width, polarities]); // prettier-ignore
          const result = scatterEvents(layer, events, buffer);
          buffer = result.buffer;
          macs += result.additions;
          output.set(result.output, at * area);
        }
        return buffer;
      }, area); // prettier-ignore
      const denseMacs = x.size * (maxDelay + 1) * size * size * motions;
      recorder?.work.set(path, { macs, denseMacs });
      return {
        output: tf.tensor(output, [batch, time, height, width, motions]),
        state: { pending: tf.tensor(pending, [batch, maxDelay, height, width, motions]) },
      };
    },
  };
  return withForms(model, forms);
}

function remembered<T>(known: WeakMap<tf.Tensor, T>, parameter: tf.Tensor, make: () => T): T {
  const found = known.get(parameter) ?? make();
  known.set(parameter, found);
  return found;
}

/**
 * Runs streams one by one, each from what is under way for its next `length / row` frames to the same after them: rings begin
 * and end with the frame that comes next.
 */
function eachStream(
  state: tf.Tensor | undefined,
  streams: number,
  length: number,
  run: (
    pending: Float32Array,
    stream: number,
  ) => { readonly frame: number; readonly pending: Float32Array },
  row: number,
): Float32Array {
  const stored = state === undefined ? new Float32Array(streams * length) : state.dataSync();
  const next = new Float32Array(streams * length);
  for (let stream = 0; stream < streams; stream++) {
    const ring = new Float32Array(length + row);
    ring.set(stored.subarray(stream * length, (stream + 1) * length));
    const { frame, pending } = run(ring, stream);
    for (let ahead = 0; ahead < length / row; ahead++) {
      const at = ((frame + ahead) % (length / row + 1)) * row;
      next.set(pending.subarray(at, at + row), stream * length + ahead * row);
    }
  }
  return next;
}

/** What isn't zero of a token's values, by feature. */
function* nonZero(
  values: ArrayLike<number>,
  from: number,
  count: number,
): Generator<[number, number]> {
  for (let i = 0; i < count; i++) if (values[from + i] !== 0) yield [i, values[from + i]];
}

/** The pixels of a frame that hold events, each as one event of that strength. */
function* eventsOf(
  values: ArrayLike<number>,
  from: number,
  [height, width, polarities]: readonly [number, number, number],
): Generator<MotionEvent> {
  for (const [at, strength] of nonZero(values, from, height * width * polarities)) {
    const pixel = Math.floor(at / polarities);
    yield { row: Math.floor(pixel / width), column: pixel % width, polarity: at % polarities, strength }; // prettier-ignore
  }
}
