export { type AugmentStage, type FilterStage, pipeline, type WindowedStage } from './chain.js';
export {
  type PreprocessConfig,
  type PreprocessInput,
  preprocessSchema,
  windowSchema,
} from './schema.js';
