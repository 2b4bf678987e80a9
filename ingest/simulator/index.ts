export { type Gesture, gestures, type Motion } from './gestures.js';
export { defaultSensorModel, type SensorModel } from './sensor.js';
export {
  type SimulateDatasetContext,
  type SimulateDatasetOptions,
  simulateDataset,
} from './simulateDataset.js';
export { type GestureOptions, type SceneOptions, simulateGesture } from './simulateGesture.js';
export { type FrameOptions, listFrames, simulateFrames } from './simulateFrames.js';
