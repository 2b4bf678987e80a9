import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import { inference, Recorder } from '../context.js';
import { addFiringRates } from '../evaluation/evaluate.js';
import type { Model, TokenEncoder } from '../model.js';
import { flatten, Initialiser, unflatten, type ParameterTree } from '../parameters.js';
import type { PretrainingConfig } from './config.js';
import {
  type Judgement,
  type LoopMetrics,
  type LoopOptions,
  type LoopResult,
  runEpochs,
} from './loop.js';
import {
  drawTokenMask,
  eventTargets,
  hiddenEventLoss,
  initialiseReconstruction,
  pretrainingStep,
} from './maskedEvents.js';

/** How well hidden events are told, on validation. */
export type PretrainingScore = {
  /** Mean squared error of ln(1 + events). */
  readonly loss: number;
  /** 1 - loss / variance of what was hidden: 0 is no better than its mean, 1 is all. */
  readonly explained: number;
};

export interface PretrainingOptions extends Omit<LoopOptions<PretrainingScore>, 'task' | 'config'> {
  readonly model: Model;
  readonly config: PretrainingConfig;
  readonly seed: number;
}

export type PretrainingMetrics = LoopMetrics<PretrainingScore>;
export type PretrainingResult = LoopResult<PretrainingScore>;

/**
 * Trains a network without labels to tell the events of hidden tokens from the others (`maskedEvents.ts`), or resumes the
 * run found in `folder`. The checkpoints have the paths of the network's own parameters, without its head, and
 * `reconstruction`. The epoch with the least validation loss is kept apart; its masks are the same in every epoch.
 *
 * @throws SaccadeError of kind `config` where the network makes no tokens; as `runEpochs` does.
 */
export async function pretrain(options: PretrainingOptions): Promise<PretrainingResult> {
  const { model, data, config, seed, transport } = options;
  const encoder = requireEncoder(model);
  return runEpochs<PretrainingScore>({
    ...options,
    task: {
      initialise: () => Promise.resolve(pretrainingLeaves(model, encoder, seed)),
      step(state, { inputs, shape, part }, step, learningRate) {
        const random = createRandom(seed, 'mask', step);
        const { first, weight } = part ?? { first: 0, weight: 1 };
        const input = tf.tensor(inputs, [...shape]);
        // As it would be drawn for the whole batch.
        const mask = tf.tidy(() =>
          tf.slice(drawMask(model, encoder, first + shape[0], config.hiddenShare, random), [first]),
        );
        try {
          const settings = { ...config, learningRate };
          return pretrainingStep(encoder, state, input, mask, settings, { transport, weight });
        } finally {
          tf.dispose([input, mask]);
        }
      },
      judge: (leaves) => judge(options, encoder, unflatten(leaves), data.validation()),
      isBetter: (score, before) => score.loss < before.loss,
    },
  });
}

/** @throws SaccadeError of kind `config` where a network makes no tokens. */
export function requireEncoder({ kind, encoder }: Model): TokenEncoder {
  if (encoder !== undefined) return encoder;
  throw new SaccadeError('config', `is ${kind}, which makes no tokens that could be hidden`, {
    field: 'model.kind',
  });
}

/** What pretraining starts with: the network's first values without its head, and the layer that predicts events. */
function pretrainingLeaves(
  model: Model,
  { width }: TokenEncoder,
  seed: number,
): Map<string, tf.Tensor> {
  const initialiser = new Initialiser(seed);
  const { head, ...body } = model.initialise(initialiser);
  tf.dispose([...flatten({ head }).values()]);
  const layer = initialiser.within('reconstruction');
  const reconstruction = initialiseReconstruction(layer, width, model.input.channels);
  return flatten({ ...body, reconstruction } as ParameterTree);
}

function drawMask(
  { input: { bins, height, width } }: Model,
  { patch }: TokenEncoder,
  clips: number,
  share: number,
  random: Random,
): tf.Tensor {
  const tokens = (height / patch) * (width / patch);
  return drawTokenMask([clips, bins, tokens], share, random);
}

async function judge(
  { model, config, seed }: PretrainingOptions,
  encoder: TokenEncoder,
  parameters: ParameterTree,
  batches: ReturnType<PretrainingOptions['data']['validation']>,
): Promise<Judgement<PretrainingScore>> {
  let [clips, error, values, sum, squares] = [0, 0, 0, 0, 0];
  const rates = new Map<string, number>();
  for await (const { inputs, shape } of batches) {
    const random = createRandom(seed, 'validation mask', clips);
    const recorder = new Recorder();
    const [loss, hidden, total, square] = tf.tidy(() => {
      const x = tf.tensor(inputs, [...shape]);
      const mask = drawMask(model, encoder, shape[0], config.hiddenShare, random);
      const context = { ...inference, recorder };
      const loss = hiddenEventLoss(encoder, parameters, x, mask, context);
      const targets = tf.mul(eventTargets(x, encoder.patch), tf.expandDims(mask, 3));
      const hidden = tf.mul(tf.sum(mask), shape[2]);
      const sums = [loss, hidden, tf.sum(targets), tf.sum(tf.square(targets))];
      return Array.from(tf.stack(sums).dataSync());
    });
    addFiringRates(rates, recorder, shape[0]);
    recorder.dispose();
    [clips, error, values] = [clips + shape[0], error + loss * hidden, values + hidden];
    [sum, squares] = [sum + total, squares + square];
  }
  const count = Math.max(1, values);
  const variance = squares / count - (sum / count) ** 2;
  const loss = error / count;
  return {
    clips,
    score: { loss, explained: variance > 0 ? 1 - loss / variance : 0 },
    firingRates: Object.fromEntries([...rates].map(([path, rate]) => [path, rate / clips])),
  };
}
