import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import { patches } from '../../engine/ops/patches.js';
import { lempelZivComplexity } from '../analysis/lempelZiv.js';
import { initialiseHead, type HeadParameters } from '../blocks/head.js';
import { frameNumbers, framesAfter, type FrameCount } from '../frames.js';
import type { InputShape, Model } from '../model.js';
import type { ParameterTree } from '../parameters.js';

export interface LempelZivConfig {
  /** Side of a patch in pixels; divides height and width. */
  readonly patch: number;
  /** Frames that a spike train goes back, at most; 0 for as many as a training clip has. */
  readonly window: number;
}

/**
 * A linear classifier on how complex spike trains are: of each patch and channel, whether it has an event, frame by frame.
 * Of the last frames of that, its Lempel-Ziv complexity, words · log₂(n) / n (after the classification of spike trains by
 * their complexity of Zhang et al.), and the entropy of its rate in bits, which the complexity of a train without memory
 * comes to. The features have no gradient and need none: only the layer over them is trained. It knows when events came,
 * but not how many: the counterpart of `linear`.
 */
export function createLempelZiv(
  { patch, window }: LempelZivConfig,
  input: InputShape,
  classes: number,
): Model {
  const trains = (input.channels * input.height * input.width) / patch ** 2;
  const frames = window === 0 ? input.bins : window;
  return {
    kind: 'lempelZiv',
    classes,
    input,
    streaming: true,
    initialise(initialiser) {
      const parameters = { head: initialiseHead(initialiser.within('head'), 2 * trains, classes) };
      return parameters as unknown as ParameterTree;
    },
    apply(tree, x, state) {
      const { head } = tree as unknown as { readonly head: HeadParameters };
      const [batch, time] = x.shape as [number, number];
      const before = state?.layers as { readonly spikes: tf.Tensor } | undefined;
      // Trains one by one, `[batch, trains, frames + time]`: what is remembered, then the chunk.
      const spikes = tf.concat(
        [before?.spikes ?? tf.zeros([batch, trains, frames]), trainsOf(x, patch)],
        2,
      );
      const features = featuresOf(spikes, time, framesOf(state?.frame ?? 0, batch));
      return {
        logits: linear(features, head.weight, head.bias),
        state: {
          frame: framesAfter(state?.frame, time),
          layers: { spikes: tf.slice(spikes, [0, 0, time], [-1, -1, frames]) },
        },
      };
    },
  };
}

/** 1 where a patch has an event in a channel, `[batch, channels · tokens, time]`. */
function trainsOf(x: tf.Tensor, patch: number): tf.Tensor {
  const [batch, time, channels, height, width] = x.shape as [number, number, number, number, number]; // prettier-ignore
  const cut = patches(tf.reshape(x, [batch * time * channels, 1, height, width]), patch);
  const some = tf.cast(tf.any(tf.notEqual(cut, 0), 2), 'float32');
  return tf.transpose(tf.reshape(some, [batch, time, -1]), [0, 2, 1]);
}

/** Frames that each clip has had. */
function framesOf(frame: FrameCount, batch: number): readonly number[] {
  const had = frameNumbers(frame);
  return typeof had === 'number' ? new Array<number>(batch).fill(had) : had;
}

/**
 * Complexity of each train up to each frame of the chunk, and the entropy of its rate.
 *
 * @param spikes `[batch, trains, remembered + time]`.
 * @param had frames that each clip had before the chunk.
 * @returns `[batch, time, 2 · trains]`, complexities first.
 */
function featuresOf(spikes: tf.Tensor, time: number, had: readonly number[]): tf.Tensor {
  const [batch, trains, length] = spikes.shape as [number, number, number];
  const remembered = length - time;
  const values = spikes.dataSync<'float32'>();
  const features = new Float32Array(batch * time * 2 * trains);
  for (let clip = 0; clip < batch; clip++) {
    for (let train = 0; train < trains; train++) {
      const from = (clip * trains + train) * length;
      for (let t = 0; t < time; t++) {
        const end = from + remembered + t + 1;
        const past = Math.min(remembered, had[clip] + t + 1);
        const last = values.subarray(end - past, end);
        const at = (clip * time + t) * 2 * trains + train;
        features[at] = lempelZivComplexity(last);
        features[at + trains] = entropy(last.reduce((a, b) => a + b, 0) / past);
      }
    }
  }
  return tf.tensor(features, [batch, time, 2 * trains]);
}

/** In bits, of a coin that shows 1 with that probability. */
function entropy(probability: number): number {
  const bits = (p: number): number => (p === 0 ? 0 : -p * Math.log2(p));
  return bits(probability) + bits(1 - probability);
}
