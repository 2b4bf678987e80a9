import { SaccadeError } from '../engine/support/errors.js';
import { totalWork, type Work } from '../models/context.js';
import { evaluate, type Evaluation } from '../models/evaluation/evaluate.js';
import { accuracy, confusionMatrix, type Accuracy } from '../models/evaluation/metrics.js';
import { deltaModel, type DeltaUnit } from '../models/runtime/deltaModel.js';
import { batchesInOrder, type LoaderOptions } from '../preprocess/loader.js';
import type { LoadedModel } from './runs.js';

/** What products are left out: `unit` of `deltaModel`, and a threshold or several. */
export interface DeltaSweepConfig {
  readonly thresholds: readonly number[];
  readonly unit?: DeltaUnit;
}

/** A trained model whose products are made only where their input has changed, against itself. */
export interface DeltaEvaluation {
  readonly threshold: number;
  readonly unit: DeltaUnit;
  readonly accuracy: Accuracy;
  /** Accuracy that it loses, -1 … 1. */
  readonly drop: number;
  /** Share of clips that both put into the same class. */
  readonly agreement: number;
  /** Of all clips: multiply-accumulates made, and those of the same products as a whole. */
  readonly work: Work;
}

/**
 * Delta inference at each of the thresholds, in order, clip by clip from an empty state.
 *
 * @param whole what the model itself does on the same clips.
 * @throws SaccadeError of kind `usage` where the model has no product that could be left out.
 */
export async function evaluateDelta(
  { model, parameters, path }: Pick<LoadedModel, 'model' | 'parameters' | 'path'>,
  clips: LoaderOptions,
  { thresholds, unit = 'token' }: DeltaSweepConfig,
  whole: Evaluation,
): Promise<readonly DeltaEvaluation[]> {
  const points: DeltaEvaluation[] = [];
  for (const threshold of thresholds) {
    const works: Work[] = [];
    const delta = deltaModel(model, { threshold, unit });
    const found = await evaluate(delta, parameters, batchesInOrder(clips), {
      onRecord: ({ work }) => works.push(totalWork(work.values())),
    });
    const work = totalWork(works);
    if (work.denseMacs === 0) {
      throw new SaccadeError('usage', `${model.kind} has no product of real values to leave out`, {
        file: path,
      });
    }
    const { labels, predictions } = found;
    points.push({
      threshold,
      unit,
      accuracy: accuracy(confusionMatrix(labels, predictions, model.classes)),
      drop: whole.accuracy - found.accuracy,
      agreement: agreementOf(found, whole),
      work,
    });
  }
  return points;
}

/** Share of clips that two models put into the same class; 0 where there are none. */
export function agreementOf(a: Evaluation, b: Evaluation): number {
  const same = a.predictions.filter((prediction, i) => prediction === b.predictions[i]).length;
  return same / Math.max(1, a.predictions.length);
}
