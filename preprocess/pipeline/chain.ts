import { parseConfig } from '../../engine/support/parseConfig.js';
import { type PreprocessConfig, type PreprocessInput, preprocessSchema } from './schema.js';
import type { PipelineStep } from './steps.js';

/** Before the cut: filters, any number of them, then the windows. */
export interface FilterStage {
  /** Adds a filter, `name:arguments`. */
  filter(call: string): FilterStage;
  /** How the stream is cut. */
  window(config: PreprocessInput['window']): WindowedStage;
}

/** After the cut: what becomes of a window. */
export interface WindowedStage {
  /** The tensor that a model reads; what is left out has the default of an experiment. */
  represent(
    settings: Pick<PreprocessInput, 'representation' | 'bins' | 'height' | 'width'>,
  ): AugmentStage;
}

/** At the end: augmentations of training clips, any number of them. */
export interface AugmentStage {
  /** Adds an augmentation, `name:arguments`. */
  augment(call: string): AugmentStage;
  /**
   * The pipeline as an experiment has it under `preprocess`.
   *
   * @throws SaccadeError of kind `config` that names the step and field that is wrong.
   */
  build(): PreprocessConfig;
}

/**
 * Describes a pipeline step by step; other orders do not compile. Each call gives a new stage, so that
 * pipelines can share their beginning.
 *
 *     pipeline()
 *       .filter('refractory:1000')
 *       .window({ kind: 'time', windowUs: 1_500_000 })
 *       .represent({ representation: 'histogram', bins: 16, height: 64, width: 64 })
 *       .augment('translate:12')
 *       .build();
 */
export function pipeline(): FilterStage {
  return filterStage([]);
}

function filterStage(steps: readonly PipelineStep[]): FilterStage {
  return {
    filter: (call) => filterStage([...steps, { filter: call }]),
    window: (config) => ({
      represent: (settings) =>
        augmentStage([...steps, { window: config }, { represent: settings }]),
    }),
  };
}

function augmentStage(steps: readonly PipelineStep[]): AugmentStage {
  return {
    augment: (call) => augmentStage([...steps, { augment: call }]),
    build: () => parseConfig(preprocessSchema, steps),
  };
}
