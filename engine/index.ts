export * from './backend.js';
export { adamw, type AdamwConfig, type AdamwState } from './ops/adamw.js';
export { causalConv1d } from './ops/causalConv1d.js';
export { depthwiseConv2d } from './ops/depthwiseConv2d.js';
export { defaultLif, lif, type LifConfig, type Surrogate } from './ops/lif.js';
export { linear } from './ops/linear.js';
export {
  linearAttention,
  type LinearAttentionConfig,
  type LinearAttentionState,
} from './ops/linearAttention.js';
export { batchNorm, batchNormInference, rmsNorm } from './ops/normalise.js';
export { patches } from './ops/patches.js';
export { selectiveScan, type ScanInputs } from './ops/selectiveScan.js';
export { silu, siluGate } from './ops/silu.js';
