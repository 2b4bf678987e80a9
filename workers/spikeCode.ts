import { SaccadeError } from '../engine/support/errors.js';
import { evaluate, type Evaluation } from '../models/evaluation/evaluate.js';
import { accuracy, confusionMatrix, type Accuracy } from '../models/evaluation/metrics.js';
import type { SpikeCodingConfig, SpikeUse } from '../models/neurons/spikeCoding.js';
import { spikeCodedModel } from '../models/runtime/spikeCodedModel.js';
import { batchesInOrder, type LoaderOptions } from '../preprocess/loader.js';
import { agreementOf } from './delta.js';
import type { LoadedModel } from './runs.js';

/** A trained model with spikes in place of the numbers that its linear layers take, against itself. */
export interface SpikeCodeEvaluation extends SpikeCodingConfig {
  readonly accuracy: Accuracy;
  /** Accuracy that it loses, -1 … 1. */
  readonly drop: number;
  /** Share of clips that both put into the same class. */
  readonly agreement: number;
  /** Mean cross-entropy over clips, nats. */
  readonly loss: number;
  /** Products that were converted, by the paths of their weights, and the most steps that each took. */
  readonly layers: Readonly<Record<string, number>>;
  /** The most steps that any of them took. */
  readonly steps: number;
  /** Share of numbers whose count is 0, 0 … 1. */
  readonly zeroShare: number;
  /** Share of all spikes of all steps that are 0. */
  readonly silentShare: number;
  /** Share of numbers whose count was cut to what `bits` hold. */
  readonly clippedShare: number;
}

/**
 * @param float what the model itself does on the same clips.
 * @throws SaccadeError of kind `usage` where the model has no product to convert.
 */
export async function evaluateSpikeCode(
  { model, parameters, path }: Pick<LoadedModel, 'model' | 'parameters' | 'path'>,
  clips: LoaderOptions,
  config: SpikeCodingConfig,
  float: Evaluation,
): Promise<SpikeCodeEvaluation> {
  const steps = new Map<string, number>();
  const sums = { values: 0, zeros: 0, clipped: 0, spikes: 0, slots: 0 };
  const note = (layer: string, use: SpikeUse): void => {
    steps.set(layer, Math.max(steps.get(layer) ?? 0, use.steps));
    for (const name of ['values', 'zeros', 'clipped', 'spikes'] as const) sums[name] += use[name];
    sums.slots += use.values * use.steps;
  };
  const coded = spikeCodedModel(model, config, note);
  const found = await evaluate(coded, parameters, batchesInOrder(clips));
  if (steps.size === 0) {
    throw new SaccadeError('usage', `${model.kind} has no product of real values to convert`, {
      file: path,
    });
  }
  const { labels, predictions, loss } = found;
  return {
    ...config,
    accuracy: accuracy(confusionMatrix(labels, predictions, model.classes)),
    drop: float.accuracy - found.accuracy,
    agreement: agreementOf(found, float),
    loss,
    layers: Object.fromEntries(steps),
    steps: Math.max(...steps.values()),
    zeroShare: sums.zeros / sums.values,
    silentShare: 1 - sums.spikes / sums.slots,
    clippedShare: sums.clipped / sums.values,
  };
}
