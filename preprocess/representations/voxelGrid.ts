import { binned } from './binned.js';
import { defineRepresentation } from './representation.js';

/**
 * Voxel grid (Zhu et al., CVPR 2019, eqs. 1-3): polarity ±1, spread bilinearly over the two nearest of N
 * sample times, t* = (N - 1) (t - from) / (to - from).
 */
export const voxelGrid = defineRepresentation({
  name: 'voxel',
  summary: 'polarity ±1 spread bilinearly over time (Zhu et al., CVPR 2019)',
  arguments: [],
  create: () => binned('voxel', 'real'),
});
