export {
  ComputeThread,
  type RunOptions,
  type TaskContext,
  type TaskModule,
  type Tasks,
} from './computeThread.js';
export * from './backend.js';
export { adamw, type AdamwConfig, type AdamwState, type UpdateControl } from './ops/adamw.js';
export {
  binEvents,
  type EventColumns,
  type EventGrid,
  type EventRepresentation,
} from './ops/binEvents.js';
export { causalConv1d } from './ops/causalConv1d.js';
export { depthwiseConv2d } from './ops/depthwiseConv2d.js';
export {
  adaptiveLif,
  defaultLif,
  integrateAndFire,
  lif,
  parametricLif,
  type AdaptiveLifConfig,
  type LifConfig,
  type Surrogate,
} from './ops/lif.js';
export { linear } from './ops/linear.js';
export {
  linearAttention,
  type LinearAttentionConfig,
  type LinearAttentionState,
} from './ops/linearAttention.js';
export { batchNorm, batchNormInference, layerNorm, rmsNorm } from './ops/normalise.js';
export { patches } from './ops/patches.js';
export { selectiveScan, type ScanInputs } from './ops/selectiveScan.js';
export { gelu } from './ops/gelu.js';
export { euclideanNorms } from './ops/norm.js';
export { silu, siluGate } from './ops/silu.js';
export { softmaxCrossEntropy } from './ops/softmaxCrossEntropy.js';
export {
  spikeConv2d,
  spikeDensity,
  spikeMatMul,
  type SpikeConvConfig,
  type SpikeDensity,
} from './ops/spikes.js';
