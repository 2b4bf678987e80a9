export { type Gesture, gestures, type Motion } from './gestures.js';
export { defaultSensorModel, type SensorModel, sensorModelRanges } from './sensor.js';
export { type FrameSource, listFrames, openFrames, openY4m } from './frames/index.js';
export {
  type SimulateDatasetContext,
  type SimulateDatasetOptions,
  simulateDataset,
  simulatorVersion,
} from './simulateDataset.js';
export { type GestureOptions, type SceneOptions, simulateGesture } from './simulateGesture.js';
export { type FrameOptions, simulateFrames } from './simulateFrames.js';
export { isSynthetic, originFile, writeOrigin } from './origin.js';
