/** Attention among the patches of a frame, updated where they change from frame to frame. */
export interface DeltaAttentionConfig {
  readonly patches: number;
  /** Features of queries, keys and values. */
  readonly width: number;
  /**
   * A patch counts as changed where a feature of its query, key or value differs by more than this from the one last
   * counted; 0 is exact.
   */
  readonly threshold: number;
}

/**
 * What was last counted: projections `[patches, width]`, scores `[patches, patches]` and what they gave, `[patches, width]`. All
 * zeros is a clip's start as well: what attention gives of zeros.
 */
export interface DeltaAttentionState {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly scores: Float32Array;
  readonly output: Float32Array;
}

/** One patch's query, key and value, `[patches, width]` each. */
export interface Projections {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/**
 * softmax(q kᵀ / √d) v of one frame, without the scores of pairs in which nothing changed (after DeltaLLM, which skips keys near
 * to a reference; here, for event frames: patches without events keep their projections, and it is exact). One patch that
 * changed changes what every query reads, so that values are summed up whole, or not at all.
 *
 * @returns outputs `[patches, width]`, the next state, the patches that changed, and the multiply-accumulates of the scores and
 *   of the values.
 */
export function deltaAttention(
  { patches, width, threshold }: DeltaAttentionConfig,
  now: Projections,
  state: DeltaAttentionState | undefined,
): {
  output: Float32Array;
  state: DeltaAttentionState;
  changed: number;
  scoreMacs: number;
  valueMacs: number;
} {
  const q = state?.q.slice() ?? now.q.slice();
  const k = state?.k.slice() ?? now.k.slice();
  const v = state?.v.slice() ?? now.v.slice();
  const scores = state?.scores.slice() ?? new Float32Array(patches * patches);
  const isChanged = (patch: number): boolean => {
    if (state === undefined) return true;
    for (let i = patch * width; i < (patch + 1) * width; i++) {
      const moved = Math.max(
        Math.abs(now.q[i] - q[i]),
        Math.abs(now.k[i] - k[i]),
        Math.abs(now.v[i] - v[i]),
      );
      // What is no number has changed.
      if (!(moved <= threshold)) return true;
    }
    return false;
  };
  const changed = Array.from({ length: patches }, (_, patch) => isChanged(patch));
  changed.forEach((moved, patch) => {
    if (!moved) return;
    for (const [kept, current] of [
      [q, now.q],
      [k, now.k],
      [v, now.v],
    ]) {
      // prettier-ignore
      kept.set(current.subarray(patch * width, (patch + 1) * width), patch * width);
    }
  });

  const count = changed.filter(Boolean).length;
  if (count === 0) {
    const { output } = state!;
    return { output, state: state!, changed: 0, scoreMacs: 0, valueMacs: 0 };
  }
  let scoreMacs = 0;
  for (let query = 0; query < patches; query++) {
    for (let key = 0; key < patches; key++) {
      if (!changed[query] && !changed[key]) continue;
      let sum = 0;
      for (let i = 0; i < width; i++) sum += q[query * width + i] * k[key * width + i];
      scores[query * patches + key] = sum / Math.sqrt(width);
      scoreMacs += width;
    }
  }
  const output = new Float32Array(patches * width);
  for (let query = 0; query < patches; query++) {
    const row = scores.subarray(query * patches, (query + 1) * patches);
    const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
    let total = 0;
    for (let key = 0; key < patches; key++) {
      const weight = Math.exp(row[key] - most);
      total += weight;
      for (let i = 0; i < width; i++) output[query * width + i] += weight * v[key * width + i];
    }
    for (let i = 0; i < width; i++) output[query * width + i] /= total;
  }
  return {
    output,
    state: { q, k, v, scores, output },
    changed: count,
    scoreMacs,
    valueMacs: patches * patches * width,
  };
}
