import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';
import { motionConfigOf, type MotionDelayConfig } from '../delays/motionDelay.js';
import type { Model } from '../model.js';
import { flatten, Initialiser, unflatten, type ParameterTree } from '../parameters.js';
import type { PretrainingConfig } from './config.js';
import {
  type LoopMetrics,
  type LoopOptions,
  type LoopResult,
  runEpochs,
  type TrainingData,
} from './loop.js';
import { motionLoss, movingTextures } from './motionTextures.js';
import { gradientStep } from './step.js';

/** Paths of what is trained: the network's own kernel, and a bias that the network's neurons have in another form. */
const kernelPath = 'embedding.kernel';
const biasPath = 'motion.bias';

/** How well motions are told, on textures that training never has. */
export type MotionScore = {
  /** Mean binary cross-entropy over motions, at events. */
  readonly loss: number;
  /** Share of events at which the right motion has the most evidence. */
  readonly accuracy: number;
};

export interface MotionOptions extends Omit<LoopOptions<MotionScore>, 'task' | 'config' | 'data'> {
  readonly model: Model;
  readonly config: PretrainingConfig;
  readonly seed: number;
}

export type MotionMetrics = LoopMetrics<MotionScore>;

/**
 * Trains a network's layer of motions on synthetic textures of known velocity (`motionTextures.ts`), as HD-SNN trains its own, or
 * resumes the run found in `folder`. No recordings are needed. The checkpoints have the kernel at the network's own path, so
 * that training can start from it.
 *
 * @throws SaccadeError of kind `config` where the network has no layer of motions, or its frames are no counts by polarity;
 *   as `runEpochs` does.
 */
export async function pretrainMotions(options: MotionOptions): Promise<LoopResult<MotionScore>> {
  const { model, config, seed } = options;
  const layer = motionLayerOf(model, seed);
  const lossOf = (parameters: ParameterTree, x: tf.Tensor, labels: tf.Tensor1D) => {
    const { embedding, motion } = parameters as Readonly<Record<string, ParameterTree>>;
    const [kernel, bias] = [embedding.kernel, motion.bias] as tf.Tensor[];
    return motionLoss({ kernel, bias }, x, labels, layer);
  };
  return runEpochs<MotionScore>({
    ...options,
    data: textureData(layer, config, seed),
    task: {
      initialise: () => Promise.resolve(motionLeaves(model, layer, seed)),
      step(state, { inputs, labels, shape }, _, learningRate) {
        const x = tf.tensor(inputs, [...shape]);
        const motions = tf.tensor1d(labels, 'int32');
        try {
          const loss = (parameters: ParameterTree): tf.Tensor =>
            lossOf(parameters, x, motions).loss;
          return gradientStep(state, loss, { ...config, learningRate });
        } finally {
          tf.dispose([x, motions]);
        }
      },
      async judge(leaves) {
        let [clips, loss, right, events] = [0, 0, 0, 0];
        for await (const { inputs, labels, shape } of textureData(
          layer,
          config,
          seed,
        ).validation()) {
          const found = tf.tidy(() => {
            const x = tf.tensor(inputs, [...shape]);
            const sums = lossOf(unflatten(leaves), x, tf.tensor1d(labels, 'int32'));
            return tf.stack([sums.loss, sums.right, sums.events]).dataSync();
          });
          clips += shape[0];
          loss += found[0] * found[2];
          right += found[1];
          events += found[2];
        }
        return {
          clips,
          score: { loss: loss / events, accuracy: right / events },
          firingRates: {},
        };
      },
      isBetter: (score, before) => score.loss < before.loss,
    },
  });
}

/** The layer of motions that a network has. Throws where there is none that textures could train. */
export function motionLayerOf(model: Model, seed = 1): MotionDelayConfig {
  const leaves = flatten(model.initialise(new Initialiser(seed)));
  const layer = motionConfigOf(leaves.get(kernelPath));
  tf.dispose([...leaves.values()]);
  if (layer === undefined) {
    throw new SaccadeError('config', 'has no layer of motions; expected motion', {
      field: 'model.stem',
    });
  }
  if (layer.polarities !== 2) {
    throw new SaccadeError(
      'config',
      `gives frames of ${layer.polarities} channels; textures have 2, falling and rising brightness`,
      { field: 'preprocess.representation' },
    );
  }
  return layer;
}

function motionLeaves(
  model: Model,
  { motions }: MotionDelayConfig,
  seed: number,
): Map<string, tf.Tensor> {
  const { [kernelPath]: kernel, ...rest } = Object.fromEntries(flatten(model.initialise(new Initialiser(seed)))); // prettier-ignore
  tf.dispose(Object.values(rest));
  return new Map([
    [kernelPath, kernel],
    [biasPath, tf.zeros([motions])],
  ]);
}

/** Each motion as often as the others. */
const validationRounds = 4;
export const validationTextures = (motions: number): number => validationRounds * motions;

/** Textures without end for training, and others for validation, the same in every epoch. */
function textureData(
  layer: MotionDelayConfig,
  { batchSize, texturesPerEpoch }: PretrainingConfig,
  seed: number,
): TrainingData {
  const batchesPerEpoch = Math.ceil(texturesPerEpoch / batchSize);
  return {
    batchesPerEpoch,
    *train(epoch, start) {
      for (let batch = start; batch < batchesPerEpoch; batch++) {
        const first = (epoch * batchesPerEpoch + batch) * batchSize;
        yield movingTextures(layer, batchSize, seed, first);
      }
    },
    *validation() {
      // A seed of its own.
      for (let round = 0; round < validationRounds; round++) {
        yield movingTextures(layer, layer.motions, ~seed, round * layer.motions);
      }
    },
  };
}
