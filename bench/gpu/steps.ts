/** What the scripts of this folder train with. */
import { createModel } from '../../models/networks/index.js';
import { modelSchema } from '../../models/networks/schema.js';
import type { Model } from '../../models/model.js';
import type { StepConfig } from '../../models/training/step.js';

export const stepSettings: StepConfig = {
  learningRate: 1e-3,
  weightDecay: 0.01,
  gradientClip: 1,
  perStepLoss: 0.5,
  statisticsMomentum: 0.9,
};

/** Clips of so many bins of `size` × `size` pixels. */
export interface ClipExtents {
  readonly bins: number;
  readonly size: number;
}

/** A model by its settings, for clips in two channels. */
export function modelFor(settings: object, { bins, size }: ClipExtents, classes = 11): Model {
  const input = { bins, channels: 2, height: size, width: size };
  return createModel(modelSchema.parse(settings), input as never, classes);
}
