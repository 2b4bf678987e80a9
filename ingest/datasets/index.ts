export {
  type CheckContext,
  checkDataset,
  checksumFile,
  type DatasetProblem,
  writeChecksums,
} from './checksums.js';
export type { Dataset, LabelledRecording, RecordingRange, SplitName } from './dataset.js';
export { openFolderDataset } from './folder.js';
export type { DatasetLayout } from './layout.js';
export { datasetLayouts, openDataset } from './layouts.js';
export { openLabelled } from './openLabelled.js';
export { type RecordingPart, type Split, splitDataset, type SplitOptions } from './split.js';
