export {
  animation,
  type AnimationOptions,
  contactSheet,
  type SheetOptions,
  type Tile,
} from './contactSheet.js';
export {
  type BinShape,
  type ColourScale,
  colourScale,
  drawBin,
  type DrawOptions,
} from './drawing.js';
export {
  defaultWindowUs,
  type Preview,
  type PreviewFrame,
  type PreviewOptions,
  type PreviewWindow,
  previewRecording,
} from './previewRecording.js';
