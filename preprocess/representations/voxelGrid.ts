import { axisBins, type Representation } from './representation.js';

/**
 * Voxel grid (Zhu et al., CVPR 2019, eqs. 1-3): polarity ±1, spread bilinearly over the two nearest of N
 * sample times, t* = (N - 1) (t - from) / (to - from).
 */
export const voxelGrid: Representation = {
  name: 'voxel',
  channels: 1,
  dtype: 'float32',
  // A sample time takes from events on both sides of it.
  binwise: false,
  accumulate(out, { length, sensor, tUs, x, y, polarity }, { fromUs, toUs }, size) {
    const { bins, height, width } = size;
    const columns = axisBins(sensor.width, width);
    const rows = axisBins(sensor.height, height);
    const durationUs = toUs - fromUs;
    const plane = height * width;
    for (let i = 0; i < length; i++) {
      const sinceUs = Math.max(0, Math.min(durationUs, tUs[i] - fromUs));
      const position = durationUs > 0 ? ((bins - 1) * sinceUs) / durationUs : 0;
      const lower = Math.floor(position);
      const upperShare = position - lower;
      const sign = polarity[i] === 1 ? 1 : -1;
      const cell = lower * plane + rows[y[i]] * width + columns[x[i]];
      out[cell] += sign * (1 - upperShare);
      if (upperShare > 0) out[cell + plane] += sign * upperShare;
    }
  },
};
