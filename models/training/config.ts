import { z } from 'zod';

const share = z.number().min(0).max(1);

/** Settings of every run, whatever it learns. */
const loopFields = {
  epochs: z.number().int().positive().default(20),
  batchSize: z.number().int().positive().default(16),
  learningRate: z.number().positive().default(2e-3),
  /** Rate at the end of the cosine. */
  finalLearningRate: z.number().min(0).default(1e-5),
  /** Length of the linear warm-up in epochs; may be a fraction. */
  warmupEpochs: z.number().min(0).default(1),
  /** Rate of learned delays, in that of the rest: they are counted in frames, and the rest about in ones. */
  delayRate: z.number().positive().default(100),
  weightDecay: z.number().min(0).default(0.01),
  /** Largest norm of the whole gradient; 0 = no clipping. */
  gradientClip: z.number().min(0).default(1),
  /** Largest share of the old value that a running statistic keeps at each step. */
  statisticsMomentum: share.default(0.9),
  /**
   * Where several processes share a batch: normalise by the statistics of the whole of it, so that their number changes
   * nothing, rather than each by those of its own part, which spares the waiting for each other at every such layer.
   */
  synchroniseStatistics: z.boolean().default(true),
  /** Steps between checkpoints inside an epoch; 0 = not by steps. They change nothing of the result. */
  checkpointSteps: z.number().int().min(0).default(0),
  /** Seconds of training that a crash may cost: a checkpoint follows at the next step; 0 = not by time. */
  checkpointSeconds: z.number().min(0).default(60),
};

export const distillationTargets = ['weights', 'outputs'] as const;

/**
 * What a student mimics: its teacher's rows of attention weights, by their cross-entropy (Hedgehog, Zhang et al. 2024), or its
 * teacher's outputs, by their mean squared error (Lizard, Nguyen et al. 2025, first stage).
 */
export type DistillationTarget = (typeof distillationTargets)[number];

/** How the mixers of a network learn from those of a trained one, before it is trained itself. */
const distillationSchema = z.strictObject({
  /** Run folder or checkpoint, relative to the configuration file. Training starts from its weights, where they fit. */
  teacher: z.string().min(1),
  steps: z.number().int().positive().default(200),
  target: z.enum(distillationTargets).default('weights'),
  learningRate: z.number().positive().default(1e-2),
});

/** Settings of a training run; every field has a default. */
export const trainingSchema = z
  .strictObject({
    ...loopFields,
    labelSmoothing: share.default(0.1),
    /** α of mixup's Beta(α, α), in (0, 1]; 0 = no mixup. */
    mixup: share.default(0),
    /** α of CutMix's Beta(α, α), likewise; where both are set, each step draws one of them. */
    cutmix: share.default(0),
    /** Share of the loss that is the mean over every step's loss rather than the last step's (TET). */
    perStepLoss: share.default(0),
    /** Run folder or checkpoint whose weights it starts from, where their paths and shapes match; relative to the configuration file. */
    initialise: z.string().min(1).optional(),
    distil: distillationSchema.optional(),
  })
  .prefault({});

/**
 * What pretraining learns: how many events are hidden, of the network up to its head; or which way textures move, of its layer of
 * motions alone.
 */
export const pretrainingTasks = ['hiddenEvents', 'motions'] as const;

/** Settings of pretraining; every field has a default. */
export const pretrainingSchema = z
  .strictObject({
    ...loopFields,
    task: z.enum(pretrainingTasks).default('hiddenEvents'),
    /** Share of the tokens whose events are hidden; 0.5 … 0.75 is usual. */
    hiddenShare: z.number().gt(0).lt(1).default(0.6),
    /** Of `motions`: synthetic textures of an epoch, none of which comes twice. */
    texturesPerEpoch: z.number().int().positive().default(256),
  })
  .prefault({});

export type TrainingConfig = z.infer<typeof trainingSchema>;
export type DistillationSettings = z.infer<typeof distillationSchema>;
export type PretrainingConfig = z.infer<typeof pretrainingSchema>;
/** What every run has. */
export type LoopConfig = Pick<TrainingConfig, keyof typeof loopFields>;
