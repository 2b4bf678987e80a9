export type { Dataset, LabelledRecording, SplitName } from './dataset.js';
export { openFolderDataset } from './folder.js';
export { type RecordingPart, type Split, splitDataset, type SplitOptions } from './split.js';
