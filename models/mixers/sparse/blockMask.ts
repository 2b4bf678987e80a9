import { patchesOf, tilesOf, type Grid, type Piece } from './grid.js';

/**
 * Which keys which queries see, in blocks: query block i attends to the keys of the key blocks `visits[i]`.
 * A query in several blocks attends to all of their keys, one that is in none gives zero. Tokens are numbered
 * from the clip's start.
 */
export interface BlockList {
  readonly queryBlocks: readonly Int32Array[];
  readonly keyBlocks: readonly Int32Array[];
  readonly visits: readonly (readonly number[])[];
  /**
   * The mask inside a visited block: the logarithm of a pair's weight. 0 lets it be, -Infinity leaves it out, ln w
   * counts it w times. All 0 where it's left out.
   */
  readonly logWeight?: (query: number, key: number, keyBlock: number) => number;
}

/** One list for all clips and heads, one for each head, or one for each head of each clip (clip by clip). */
export type BlockMask = readonly BlockList[];

/** A mask that no content changes: the keys of each query. */
export interface StaticMask {
  /**
   * Frames before its own that a query reads at most; undefined where it reads frames after its own too.
   * A clip can then not be fed in chunks.
   */
  readonly reach?: number;
  /** Whether heads see different keys. */
  readonly perHead: boolean;
  /** The keys that a query sees, each once. Those of later frames aren't asked for where `reach` is given. */
  keysOf(query: number, grid: Grid, head: number): Iterable<number>;
}

/** How a static mask is cut into blocks. */
export interface Tiles {
  readonly query: Grid;
  readonly key: Grid;
}

/** The blocks of a static mask: the key tiles that any query of a query tile reads, masked inside. */
export function staticBlocks(
  mask: StaticMask,
  piece: Piece,
  heads: number,
  tiles: Tiles,
): BlockMask {
  const queryBlocks = tilesOf(piece, tiles.query, piece.queryFrom);
  const keyBlocks = tilesOf(piece, tiles.key, piece.keyFrom);
  const firstKey = piece.keyFrom * patchesOf(piece);
  const blockOf = new Int32Array(piece.frames * patchesOf(piece) - firstKey);
  keyBlocks.forEach((tokens, block) => tokens.forEach((key) => (blockOf[key - firstKey] = block)));
  return Array.from({ length: mask.perHead ? heads : 1 }, (_, head) => {
    const seen = new Map<number, Int32Array>();
    const visits = queryBlocks.map((queries) => {
      const visited = new Set<number>();
      for (const query of queries) {
        const keys = Int32Array.from(mask.keysOf(query, piece, head)).sort();
        seen.set(query, keys);
        for (const key of keys) {
          const index = within(key - firstKey, blockOf.length, 'key', key);
          visited.add(blockOf[index]);
        }
      }
      return [...visited].sort((a, b) => a - b);
    });
    return {
      queryBlocks,
      keyBlocks,
      visits,
      logWeight: (query, key) => (includes(seen.get(query)!, key) ? 0 : -Infinity),
    };
  });
}

/** Place of the first of the sorted values that is no less. */
export function firstAtLeast(sorted: ArrayLike<number>, value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether a value is among sorted ones. */
const includes = (sorted: Int32Array, value: number): boolean =>
  sorted[firstAtLeast(sorted, value)] === value;

/**
 * Pairs of a query and a key that a mask's blocks compute, masked ones included: what attention costs. Of static
 * masks it is known before anything runs, so windows and tiles can be chosen by it.
 */
export function visitedPairs(list: BlockList): number {
  let pairs = 0;
  list.queryBlocks.forEach((queries, i) => {
    for (const block of list.visits[i]) pairs += queries.length * list.keyBlocks[block].length;
  });
  return pairs;
}

/** Share of a piece's queries that see no key at all. */
export function uncoveredShare(list: BlockList, piece: Piece): number {
  const covered = new Set<number>();
  list.queryBlocks.forEach((queries, i) => {
    for (const block of list.visits[i]) {
      for (const query of queries) {
        const sees = (key: number): boolean => (list.logWeight?.(query, key, block) ?? 0) > -Infinity; // prettier-ignore
        if (list.keyBlocks[block].some(sees)) covered.add(query);
      }
    }
  });
  return 1 - covered.size / ((piece.frames - piece.queryFrom) * patchesOf(piece));
}

/** Tiles visited and pairs computed by a static mask over a whole clip, all heads together. */
export function simulateTiles(
  mask: StaticMask,
  grid: Grid,
  heads: number,
  tiles: Tiles,
): { readonly tiles: number; readonly pairs: number } {
  const lists = staticBlocks(mask, { ...grid, keyFrom: 0, queryFrom: 0 }, heads, tiles);
  const sum = (count: (list: BlockList) => number): number =>
    (lists.reduce((total, list) => total + count(list), 0) * heads) / lists.length;
  return {
    tiles: sum(({ visits }) => visits.reduce((total, blocks) => total + blocks.length, 0)),
    pairs: sum(visitedPairs),
  };
}

/**
 * Share of the query-key pairs of a clip that a static mask's heads see together, from the pairs that could be
 * seen: all of them, or those of no later frame where the mask is causal.
 */
export function coverage(mask: StaticMask, grid: Grid, heads: number): number {
  const patches = patchesOf(grid);
  const tokens = grid.frames * patches;
  let seen = 0;
  let possible = 0;
  for (let query = 0; query < tokens; query++) {
    const union = new Set<number>();
    for (let head = 0; head < (mask.perHead ? heads : 1); head++) {
      for (const key of mask.keysOf(query, grid, head)) union.add(key);
    }
    seen += union.size;
    possible += mask.reach === undefined ? tokens : (Math.floor(query / patches) + 1) * patches;
  }
  return seen / possible;
}

/** Added to the score of a pair that is left out: far below any score, and finite. */
export const leftOut = -1e30;

/**
 * A mask as arrays of one size for all blocks, for batched products. Rows of `queries` and `keys` that are -1 are
 * padding.
 */
export interface PackedMask {
  readonly lists: number;
  readonly blocks: number;
  readonly blockQueries: number;
  readonly blockKeys: number;
  /** `[lists, blocks, blockQueries]` and `[lists, blocks, blockKeys]`, counted from the piece's first one. */
  readonly queries: Int32Array;
  readonly keys: Int32Array;
  /** `[lists, blocks, blockQueries, blockKeys]`. */
  readonly logWeight: Float32Array;
  /** Where each query stands in the blocks, or -1: `[lists, query tokens, occurrences]`. */
  readonly places: Int32Array;
  readonly occurrences: number;
}

/** Extents of a packed mask. */
export type BlockSizes = Pick<PackedMask, 'blocks' | 'blockQueries' | 'blockKeys'>;

/**
 * @param least extents that the arrays have at least, so that what a mask costs doesn't depend on what it chose.
 * @throws RangeError where a block names a token that the piece doesn't have.
 */
export function pack(mask: BlockMask, piece: Piece, least?: BlockSizes): PackedMask {
  const patches = patchesOf(piece);
  const firstQuery = piece.queryFrom * patches;
  const firstKey = piece.keyFrom * patches;
  const queryTokens = piece.frames * patches - firstQuery;
  const most = (name: keyof BlockSizes, size: (list: BlockList) => number): number =>
    Math.max(least?.[name] ?? 1, ...mask.map(size));
  const largest = (sizes: readonly number[]): number => sizes.reduce((a, b) => Math.max(a, b), 1);
  const keysOf = (list: BlockList, block: number): number =>
    list.visits[block].reduce((total, key) => total + list.keyBlocks[key].length, 0);

  const blocks = most('blocks', (list) => list.queryBlocks.length);
  const blockQueries = most('blockQueries', (list) =>
    largest(list.queryBlocks.map(({ length }) => length)),
  );
  const blockKeys = most('blockKeys', (list) =>
    largest(list.visits.map((_, block) => keysOf(list, block))),
  );
  const queries = new Int32Array(mask.length * blocks * blockQueries).fill(-1);
  const keys = new Int32Array(mask.length * blocks * blockKeys).fill(-1);
  const logWeight = new Float32Array(mask.length * blocks * blockQueries * blockKeys).fill(leftOut);
  const found: number[][] = Array.from({ length: mask.length * queryTokens }, () => []);

  mask.forEach((list, l) => {
    list.queryBlocks.forEach((tokens, b) => {
      const block = l * blocks + b;
      tokens.forEach((token, i) => {
        const query = within(token - firstQuery, queryTokens, 'query', token);
        queries[block * blockQueries + i] = query;
        found[l * queryTokens + query].push(b * blockQueries + i);
      });
      let j = 0;
      for (const keyBlock of list.visits[b]) {
        for (const key of list.keyBlocks[keyBlock]) {
          const all = piece.frames * patches - firstKey;
          keys[block * blockKeys + j] = within(key - firstKey, all, 'key', key);
          tokens.forEach((query, i) => {
            const weight = list.logWeight?.(query, key, keyBlock) ?? 0;
            logWeight[(block * blockQueries + i) * blockKeys + j] = Math.max(weight, leftOut);
          });
          j++;
        }
      }
    });
  });

  const occurrences = largest(found.map(({ length }) => length));
  const places = new Int32Array(found.length * occurrences).fill(-1);
  found.forEach((at, i) => places.set(at, i * occurrences));
  return { lists: mask.length, blocks, blockQueries, blockKeys, queries, keys, logWeight, places, occurrences }; // prettier-ignore
}

function within(index: number, count: number, kind: string, token: number): number {
  if (index < 0 || index >= count) {
    throw new RangeError(`${kind} ${token} is not among the ${count} tokens given`);
  }
  return index;
}

/**
 * The mask as one matrix per list: the logarithm of how often a query sees a key, `[lists, queries, keys]`.
 */
export function denseLogWeights(mask: BlockMask, piece: Piece): Float32Array {
  const patches = patchesOf(piece);
  const queries = (piece.frames - piece.queryFrom) * patches;
  const keys = (piece.frames - piece.keyFrom) * patches;
  const weights = new Float64Array(mask.length * queries * keys);
  mask.forEach((list, l) => {
    list.queryBlocks.forEach((tokens, b) => {
      for (const token of tokens) {
        const row = (l * queries + token - piece.queryFrom * patches) * keys;
        for (const block of list.visits[b]) {
          for (const key of list.keyBlocks[block]) {
            const weight = list.logWeight?.(token, key, block) ?? 0;
            weights[row + key - piece.keyFrom * patches] += Math.exp(weight);
          }
        }
      }
    });
  });
  return Float32Array.from(weights, (weight) => Math.max(leftOut, Math.log(weight)));
}
