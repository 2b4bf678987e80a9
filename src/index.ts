/**
 * Saccade as a library: what the command line is made of, layer by layer.
 *
 *     import { openRecording, loadModel, streamPredictions } from 'saccade';
 *
 *     const recording = await openRecording('wave.es');
 *     const model = await loadModel('runs/gestures');
 *     for await (const bin of streamPredictions(model, recording.batches())) {
 *       console.log(bin.endUs, model.classes[bin.prediction]);
 *     }
 */

/** Errors that a user can act on, and the exit codes that the command line gives them. */
export {
  type ErrorKind,
  type ErrorPlace,
  exitCodes,
  SaccadeError,
} from '../engine/support/errors.js';

/** Computing: choose a TensorFlow.js backend before a model is made or loaded. */
export {
  backendNames,
  type BackendName,
  type BackendStatus,
  inspectBackends,
  selectBackend,
} from '../engine/backend.js';

/** Fused ops with gradients, for models of one's own. */
export {
  causalConv1d,
  defaultLif,
  depthwiseConv2d,
  lif,
  type LifConfig,
  linear,
  linearAttention,
  type LinearAttentionConfig,
  type LinearAttentionState,
  type ScanInputs,
  selectiveScan,
  type Surrogate,
} from '../engine/index.js';

/** Events in memory: a structure of arrays, times in µs. */
export {
  concatBatches,
  createBatch,
  emptyBatch,
  type EventBatch,
  selectEvents,
  type SensorSize,
  sliceBatch,
} from '../ingest/eventBatch.js';

/** Recordings: open, summarise, read and write, with bounded memory. */
export {
  decodeStream,
  openRecording,
  type OpenOptions,
  type ReadOptions,
  type Recording,
  type RecordingSummary,
  summarise,
  type WriteOptions,
  writeRecording,
} from '../ingest/recording.js';
export type { DecodeReport, EventFormat } from '../ingest/format.js';
export { detectFormat, formatByExtension, formatByName, formats } from '../ingest/formats/index.js';

/** Labelled sets of recordings, split without leaks between the parts. */
export {
  type Dataset,
  type LabelledRecording,
  openFolderDataset,
  type Split,
  splitDataset,
  type SplitName,
  type SplitOptions,
} from '../ingest/datasets/index.js';

/** Synthetic recordings of gestures. */
export {
  gestures,
  type GestureOptions,
  simulateDataset,
  type SimulateDatasetOptions,
  simulateGesture,
} from '../ingest/simulator/index.js';

/** Filters of event streams, called as text: `refractory:1000`. */
export {
  type EventFilter,
  filters,
  filterStream,
  parseFilter,
} from '../preprocess/filters/index.js';

/** Windows: the stretches of a recording that models see. */
export {
  type EventWindow,
  type LabelledInterval,
  type WindowConfig,
  windowLabel,
  windowsOf,
} from '../preprocess/windows/index.js';

/** Pipelines: filter → window → represent → augment, described step by step. */
export {
  pipeline,
  type PreprocessConfig,
  type PreprocessInput,
} from '../preprocess/pipeline/index.js';

/** Representations: events as dense tensors. */
export {
  addToClip,
  addToTokens,
  type Clip as RepresentedClip,
  type ClipSize,
  type DenseArray,
  finishClip,
  fitHots,
  type HotsDictionary,
  hotsWith,
  type KernelLayer,
  learnedSpikeTensor,
  parseRepresentation,
  type Representation,
  representationNames,
  representRecording,
  representWindow,
  type SpikingPatches,
  startClip,
  startTokens,
  storeClip,
  tokenFeatures,
} from '../preprocess/representations/index.js';
export { writeNpy } from '../preprocess/npyFile.js';

/** Augmentations of training windows, called as text: `translate:8`. */
export {
  augment,
  type Augmentation,
  augmentations,
  augmentSample,
  type LabelledWindow,
  parseAugmentation,
} from '../preprocess/augmentations/index.js';

/** Models: functions of parameters, frames and the state of the clip so far. */
export { createModel, type ModelConfig, modelSchema } from '../models/networks/index.js';
export type { ClipState, InputShape, Model } from '../models/model.js';

/** Token mixers by name: one interface, with what each costs. */
export { createMixer, type MixerConfig, mixers, mixerSchema } from '../models/mixers/registry.js';
export type {
  MixerCost,
  MixerForm,
  MixerOptions,
  MixerShape,
  TokenMixer,
} from '../models/mixers/tokenMixer.js';
export { type HybridPlan, hybridSchedule } from '../models/mixers/hybridSchedule.js';
export { countOperations, type OperationCount } from '../models/analysis/operationCount.js';
export { type Context, inference, Recorder } from '../models/context.js';
export {
  countParameters,
  disposeTree,
  flatten,
  Initialiser,
  type ParameterTree,
  unflatten,
} from '../models/parameters.js';
export {
  type Checkpoint,
  readCheckpoint,
  writeCheckpoint,
} from '../models/checkpoints/checkpoint.js';

/** Training, with data from anywhere. */
export type { TrainingData } from '../models/training/loop.js';
export {
  type EpochMetrics,
  train,
  type TrainingOptions,
  type TrainingResult,
} from '../models/training/train.js';
export {
  pretrain,
  type PretrainingMetrics,
  type PretrainingOptions,
  type PretrainingResult,
} from '../models/training/pretrain.js';
export {
  type MotionMetrics,
  type MotionOptions,
  type MotionScore,
  pretrainMotions,
} from '../models/training/pretrainMotions.js';
export {
  type DistillationTarget,
  type PretrainingConfig,
  pretrainingSchema,
  type TrainingConfig,
  trainingSchema,
} from '../models/training/config.js';
export type { Clip, ClipBatch, EpochOptions } from '../preprocess/loader.js';
export {
  openLoader,
  type ParallelLoader,
  type ParallelOptions,
} from '../preprocess/parallelLoader.js';

/** Distillation: the slots of a linear mixer trained to mimic a trained softmax. */
export {
  distil,
  distilled,
  distilledLeaves,
  type DistillationConfig,
  type DistillationOptions,
  inheritedParameters,
  type MixerWithParameters,
} from '../models/training/distillation.js';
export { disposeTraining, startTraining, type TrainingState } from '../models/training/step.js';
export { linearise, type LineariseOptions } from '../models/training/linearise.js';

/** Evaluation: predictions, metrics with intervals, reports, a picture of the confusion matrix. */
export { evaluate, type Evaluation } from '../models/evaluation/evaluate.js';
export {
  accuracy,
  confusionMatrix,
  type ConfusionMatrix,
  meanInterval,
  wilsonInterval,
} from '../models/evaluation/metrics.js';
export {
  type ClassificationReport,
  classificationReport,
  reportTable,
} from '../models/evaluation/report.js';
export { type ConfusionPicture, confusionPicture } from '../models/evaluation/confusionPicture.js';

/** Experiments and jobs: what the commands run, from a configuration to a trained and used model. */
export {
  type Experiment,
  experimentSchema,
  parseExperiment,
  readExperiment,
} from '../workers/experiment.js';
export type { JobContext, JobProgress } from '../workers/job.js';
export { prepareData, type PreparedData } from '../workers/prepare.js';
export { pretrainJob, type PretrainJob, type PretrainOutcome } from '../workers/pretrain.js';
export { trainJob, type TrainJob, type TrainOutcome } from '../workers/train.js';
export type { DeltaEvaluation, DeltaSweepConfig } from '../workers/delta.js';
export type { SpikeCodeEvaluation } from '../workers/spikeCode.js';
export { evaluateJob, type EvaluateJob, type EvaluationOutcome } from '../workers/evaluate.js';
export {
  calibrateJob,
  type CalibrateJob,
  type CalibrateOutcome,
  type ExitCalibration,
  type ExitEvaluation,
  readExit,
} from '../workers/exit.js';
export { inferWindows, type WindowPrediction } from '../workers/infer.js';
export { type LoadedModel, loadModel } from '../workers/runs.js';
/** Threads for services: predictions and jobs that leave the event loop alone. */
export { ModelThread } from '../workers/modelThread.js';
export type { ModelDescription, ModelSetup } from '../workers/modelTasks.js';
export { runJobInThread } from '../workers/jobThread.js';
export { type BinPrediction, type StreamOptions, streamPredictions } from '../workers/stream.js';
export type { StreamReport } from '../workers/binning.js';
