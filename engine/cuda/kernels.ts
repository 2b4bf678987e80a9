import type { Kernels } from '../native/addon.js';
import { blockThreads, type Device } from './device.js';
import type { MatrixProducts } from './matMul.js';
import type { DeviceArray } from './memory.js';

const axesTypes = 'i'.repeat(25);
const neuronTypes = 'ffffff';
const scanTypes = 'pppppppppiiii';
const attentionTypes = 'ppppppiiiiiiiiif';
/** Steps between the states that a scan keeps for its way back. */
const scanChunk = 16;

/**
 * The kernels that `engine/native/kernels` and `engine/native/ops` call, on the device: the same names and
 * arguments as the addon's (its `src/*.cc` say what they are), with device arrays in place of typed ones.
 */
export function deviceKernels(device: Device, products: MatrixProducts): Kernels {
  const { backend } = device;
  const { multiprocessors } = backend.driver;

  const unary = Object.fromEntries(
    unaryNames.map((name) => [
      name,
      (x: DeviceArray, y: DeviceArray, p = 1, q = 0): void =>
        device.walk(device.kernel('elementwise', name, 'ppffl'), y.length, [x, y, p, q, y.length]),
    ]),
  );

  const binary = Object.fromEntries(
    binaryNames.map((name) => [
      name,
      (a: DeviceArray, b: DeviceArray, y: DeviceArray, dims: Int32Array, rank: number): void => {
        if (rank === 1) {
          const kernel = device.kernel('elementwise', name, 'pppiil');
          device.walk(kernel, y.length, [a, b, y, dims[1], dims[2], y.length]);
        } else {
          const kernel = device.kernel('elementwise', `${name}Axes`, `ppp${axesTypes}l`);
          device.walk(kernel, y.length, [a, b, y, ...axesOf(dims, rank), y.length]);
        }
      },
    ]),
  );

  /** Simple loops over the last array's values. */
  const loop =
    (name: string, arrays: number, file = 'elementwise') =>
    (...values: DeviceArray[]): void => {
      const n = values[arrays - 1].length;
      device.walk(device.kernel(file, name, `${'p'.repeat(arrays)}l`), n, [...values, n]);
    };

  /** A unary kernel without settings. */
  const activation =
    (name: string) =>
    (x: DeviceArray, y: DeviceArray): void => {
      const kernel = device.kernel('elementwise', name, 'ppffl');
      device.walk(kernel, y.length, [x, y, 0, 0, y.length]);
    };

  /** Reduces the middle axis of [outer, reduced, inner]. */
  function reduce(
    name: string,
    x: DeviceArray,
    y: DeviceArray,
    [outer, reduced, inner]: readonly [number, number, number],
    scale: number,
  ): void {
    if (outer * inner === 0) return;
    // Few results of many values: in pieces first, so that the whole device works.
    const groups = outer * Math.ceil(inner / 32);
    const wanted = Math.min(Math.floor((4 * multiprocessors) / groups), Math.floor(reduced / 256));
    if (inner === 1 && (wanted <= 1 || outer >= multiprocessors)) {
      const threads = reduced >= 1024 ? 256 : reduced >= 128 ? 128 : 32;
      const kernel = device.kernel('reduce', `${name}Rows`, 'pplfl');
      const blocks = Math.min(outer, 65535);
      device.launch(kernel, [blocks], [threads], [x, y, reduced, scale, outer]);
      return;
    }
    const pieces = Math.max(1, wanted);
    if (inner === 1) {
      // Pieces of a row are rows of a shorter one where the length divides; otherwise columns of one.
      const length = Math.ceil(reduced / pieces);
      if (length * pieces === reduced) {
        backend.scratch(outer * pieces, (part) => {
          reduce(name, x, part, [outer * pieces, length, 1], 1);
          reduce(name, part, y, [outer, pieces, 1], scale);
        });
        return;
      }
    }
    const columns = (
      from: DeviceArray,
      to: DeviceArray,
      count: number,
      parts: number,
      factor: number,
    ): void => {
      const kernel = device.kernel('reduce', `${name}Columns`, 'pplllf');
      const grid = [Math.ceil(inner / 32), parts, outer] as const;
      device.launch(kernel, grid, [32, 8], [from, to, count, inner, parts, factor]);
    };
    if (outer > 65535) {
      // The grid's third side is shorter than its first: one block after the other along `outer`.
      backend.driver.synchronise();
      throw new Error(`cannot reduce ${outer} groups at once`);
    }
    if (pieces === 1) columns(x, y, reduced, 1, scale);
    else {
      backend.scratch(outer * pieces * inner, (part) => {
        columns(x, part, reduced, pieces, 1);
        columns(part, y, pieces, 1, scale);
      });
    }
  }
  const reduction =
    (name: string) =>
    (
      x: DeviceArray,
      y: DeviceArray,
      outer: number,
      reduced: number,
      inner: number,
      scale: number,
    ) =>
      reduce(name, x, y, [outer, reduced, inner], scale);

  /** Pieces that many rows are cut into, for sums by feature. */
  const piecesOf = (rows: number, features: number): number => {
    const groups = Math.ceil(features / 32);
    return Math.max(1, Math.min(Math.ceil((4 * multiprocessors) / groups), Math.ceil(rows / 64)));
  };
  const byFeature = (features: number, pieces: number, third = 1) =>
    [Math.ceil(features / 32), pieces, third] as const;
  const perFeature = (
    name: string,
    types: string,
    features: number,
    values: (number | DeviceArray)[],
  ): void =>
    device.launch(
      device.kernel('normalise', name, types),
      [Math.ceil(features / blockThreads)],
      [blockThreads],
      values,
    );

  function normaliseRows(
    x: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray | 0,
    y: DeviceArray,
    rows: number,
    features: number,
    epsilon: number,
  ): void {
    const kernel = device.kernel('normalise', 'rowNormForward', 'pppplif');
    device.walk(kernel, 32 * rows, [x, scale, shift, y, rows, features, epsilon]);
  }
  function normaliseRowsBack(
    x: DeviceArray,
    scale: DeviceArray,
    dY: DeviceArray,
    dX: DeviceArray,
    dScale: DeviceArray,
    dShift: DeviceArray | undefined,
    [rows, features, epsilon]: readonly number[],
  ): void {
    const pieces = piecesOf(rows, features);
    backend.scratch(2 * rows, (statistics) => {
      backend.scratch(2 * pieces * features, (partial) => {
        const centred = dShift === undefined ? 0 : 1;
        const back = device.kernel('normalise', 'rowNormBackward', 'ppppplii' + 'f');
        device.walk(back, 32 * rows, [
          x,
          scale,
          dY,
          dX,
          statistics,
          rows,
          features,
          centred,
          epsilon,
        ]);
        const sums = device.kernel('normalise', 'rowNormSums', 'pppplii');
        const values = [x, dY, statistics, partial, rows, features, pieces];
        device.launch(sums, byFeature(features, pieces), [32, 8], values);
        backend.scratch(dShift === undefined ? features : 0, (unused) => {
          const to = [partial, dScale, dShift ?? unused, features, pieces];
          perFeature('batchNormGradientJoin', 'pppii', features, to);
        });
      });
    });
  }

  function batchNorm(
    x: DeviceArray,
    mean: DeviceArray,
    variance: DeviceArray,
    scale: DeviceArray,
    shift: DeviceArray,
    y: DeviceArray,
    features: number,
    epsilon: number,
  ): void {
    backend.scratch(features, (factor) => {
      const from = [scale.length === 0 ? 0 : scale, variance, factor, features, epsilon];
      perFeature('batchNormFactor', 'pppif', features, from);
      const apply = device.kernel('normalise', 'batchNormApply', 'pppppil');
      const to = [x, mean, factor, shift.length === 0 ? 0 : shift, y, features, y.length];
      device.walk(apply, y.length, to);
    });
  }

  function matMul(
    a: DeviceArray,
    b: DeviceArray,
    c: DeviceArray,
    ...[batches, aStride, bStride, m, n, k, transposeA, transposeB]: [
      ...[number, number, number, number, number, number],
      ...[boolean, boolean],
    ]
  ): void {
    if (k === 0) c.clear();
    else {
      const product = { batches, aStride, bStride, m, n, k, transposeA, transposeB };
      products.run(a.pointer, b.pointer, c.pointer, product);
    }
  }

  function copy(
    x: DeviceArray,
    y: DeviceArray,
    dims: Int32Array,
    rank: number,
    xOffset: number,
    yOffset: number,
  ): void {
    const from = x.pointer + 4 * xOffset;
    const to = y.pointer + 4 * yOffset;
    let n = 1;
    for (let d = 0; d < rank; d++) n *= dims[3 * d];
    if (n === 0) return;
    if (rank === 1 && dims[1] === 1 && dims[2] === 1) {
      backend.driver.copy(to, from, 4 * n);
      return;
    }
    const plane = transposition(dims, rank);
    if (plane !== undefined) {
      const { planes, rows, columns } = plane;
      const kernel = device.kernel('arrange', 'transposePlanes', 'ppiil');
      const grid = [
        Math.ceil(columns / 32),
        Math.ceil(rows / 32),
        Math.min(planes, 65535),
      ] as const;
      device.launch(kernel, grid, [32, 8], [from, to, rows, columns, planes]);
      return;
    }
    const kernel = device.kernel('arrange', 'copyAxes', `pp${axesTypes}l`);
    device.walk(kernel, n, [from, to, ...axesOf(dims, rank), n]);
  }

  /** What the file `lif.cu` is compiled for; registers hold up to 32 steps. */
  const lifDefinitions = (
    settings: Float64Array,
    variant: { tau: DeviceArray; adaptation: DeviceArray },
    [width, steps]: readonly [number, number],
  ): Readonly<Record<string, number>> => {
    const [, , hard, decayInput, detachReset, surrogate] = settings;
    return {
      ...{ HARD: hard, DECAY_INPUT: decayInput, DETACH_RESET: detachReset, SURROGATE: surrogate },
      PARAMETRIC: variant.tau.length > 0 ? 1 : 0,
      ADAPTIVE: variant.adaptation.length > 0 ? 1 : 0,
      WIDTH: width,
      STEPS: steps <= 32 ? steps : 0,
    };
  };
  function lifForward(
    x: DeviceArray,
    initial: DeviceArray,
    tau: DeviceArray,
    adaptation: DeviceArray,
    spikes: DeviceArray,
    last: DeviceArray,
    lastAdaptation: DeviceArray,
    ...[batch, steps, features, settings]: [number, number, number, Float64Array]
  ): void {
    const width = features % 4 === 0 ? 4 : 1;
    // Registers hold one step only: the number of steps need not be known.
    const definitions = lifDefinitions(settings, { tau, adaptation }, [width, 0]);
    const kernel = device.kernel('lif', 'lifForward', `pppppppiiii${neuronTypes}`, definitions);
    device.walk(kernel, (batch * features) / width, [
      ...[x, initial, tau, adaptation, spikes, last, lastAdaptation],
      ...[batch, steps, features, tau.length, ...neuronOf(settings)],
    ]);
  }
  function lifBackward(
    x: DeviceArray,
    initial: DeviceArray,
    tau: DeviceArray,
    adaptation: DeviceArray,
    dSpikes: DeviceArray,
    dLast: DeviceArray,
    dLastAdaptation: DeviceArray,
    dX: DeviceArray,
    dInitial: DeviceArray,
    dTau: DeviceArray,
    dAdaptation: DeviceArray,
    ...[batch, steps, features, settings]: [number, number, number, Float64Array]
  ): void {
    const neuron = neuronOf(settings);
    if (adaptation.length > 0) {
      const definitions = lifDefinitions(settings, { tau, adaptation }, [1, 0]);
      const types = `${'p'.repeat(10)}iii${neuronTypes}`;
      const kernel = device.kernel('lif', 'adaptiveLifBackward', types, definitions);
      backend.scratch(batch * steps * features, (adapted) => {
        device.walk(kernel, batch * features, [
          ...[x, initial, adaptation, dSpikes, dLast, dLastAdaptation],
          ...[dX, dInitial, dAdaptation, adapted, batch, steps, features, ...neuron],
        ]);
      });
      return;
    }
    const width = features % 4 === 0 && steps <= 16 ? 4 : 1;
    const definitions = lifDefinitions(settings, { tau, adaptation }, [width, steps]);
    const kernel = device.kernel('lif', 'lifBackward', `ppppppppiiii${neuronTypes}`, definitions);
    const parametric = tau.length > 0;
    backend.scratch(parametric ? batch * features : 0, (rates) => {
      device.walk(kernel, (batch * features) / width, [
        ...[x, initial, tau, dSpikes, dLast, dX, dInitial, rates],
        ...[batch, steps, features, tau.length, ...neuron],
      ]);
      if (parametric) {
        const repeats = (batch * features) / tau.length;
        reduce('Sum', rates, dTau, [1, repeats, tau.length], 1);
      }
    });
  }

  /** Lanes that share a channel's states: four where the states divide. */
  const scanDefinitions = (states: number) => ({
    STATES: states,
    LANES: states % 4 === 0 ? 4 : states % 2 === 0 ? 2 : 1,
    CHUNK: scanChunk,
  });
  const scanGrid = (batch: number, channels: number, lanes: number) =>
    [Math.ceil(channels / (4 * (32 / lanes))), batch] as const;

  function scanForward(
    ...values: [
      ...[
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
      ],
      ...[
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        number,
        number,
        number,
        number,
        boolean,
      ],
    ]
  ): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const [y, last] = values.slice(9, 11) as DeviceArray[];
    const [batch, length, channels, states] = values.slice(11, 15) as number[];
    const definitions = scanDefinitions(states);
    const kernel = device.kernel('scan', 'scanForward', `${scanTypes}pppi`, definitions);
    const sizes = [batch, length, channels, values[15] ? 1 : 0];
    const grid = scanGrid(batch, channels, definitions.LANES);
    device.launch(kernel, grid, [128], [...inputs, ...sizes, y, last, 0, 1]);
  }

  function scanBackward(...values: (DeviceArray | number | boolean)[]): void {
    const inputs = values.slice(0, 9) as DeviceArray[];
    const [dY, dLast, dU, dDelta, dA, dB, dC, dD, dBias, dInitial, dZ] = values.slice(
      9,
      20,
    ) as DeviceArray[];
    const [batch, length, channels, states] = values.slice(20, 24) as number[];
    const sizes = [batch, length, channels, values[24] ? 1 : 0];
    const definitions = scanDefinitions(states);
    const grid = scanGrid(batch, channels, definitions.LANES);
    const blocks = grid[0];
    const chunks = Math.ceil(length / scanChunk);
    const perThread = states / definitions.LANES;
    const sharedBytes = 4 * ((scanChunk + 1) * perThread * 128 + 8 * states);
    const mixes = batch * length * states;
    backend.scratch(chunks * batch * channels * states, (kept) => {
      const again = device.kernel('scan', 'scanForward', `${scanTypes}pppi`, definitions);
      device.launch(again, grid, [128], [...inputs, ...sizes, 0, 0, kept, scanChunk]);
      backend.scratch(batch * channels * (states + 2) + 2 * blocks * mixes, (parts) => {
        const partA = parts.pointer;
        const partD = partA + 4 * batch * channels * states;
        const partBias = partD + 4 * batch * channels;
        const partB = partBias + 4 * batch * channels;
        const partC = partB + 4 * blocks * mixes;
        const back = device.kernel(
          'scan',
          'scanBackward',
          `${scanTypes}${'p'.repeat(12)}`,
          definitions,
        );
        if (sharedBytes > 49152) backend.driver.allowShared(back, sharedBytes);
        const to = [dU, dDelta, dInitial, dZ, partA, partB, partC, partD, partBias];
        const given = [...inputs, ...sizes, dY, dLast, kept, ...to.slice(0, 4)];
        device.launch(back, grid, [128], [...given, ...to.slice(4)], sharedBytes);
        const sum = (from: number, target: DeviceArray, count: number): void =>
          reduce('Sum', view(from), target, [1, count, target.length], 1);
        sum(partA, dA, batch);
        sum(partD, dD, batch);
        sum(partBias, dBias, batch);
        sum(partB, dB, blocks);
        sum(partC, dC, blocks);
      });
    });
  }

  function attention(values: readonly (DeviceArray | number | boolean)[], sizesAt: number) {
    const [groups, frames, tokens, features, heads] = values.slice(sizesAt) as number[];
    const [causal, normalise, epsilon, decays] = values.slice(sizesAt + 5) as [
      ...[boolean, boolean, number, number],
    ];
    const width = features / heads;
    const span = causal ? tokens : frames * tokens;
    const settings = [groups, frames, tokens, features, heads, width, span];
    return {
      settings: [...settings, normalise ? 1 : 0, decays, epsilon],
      blocks: groups * heads,
      width,
      spans: (frames * tokens) / span,
      threads: width >= 32 ? 256 : width >= 16 ? 128 : 64,
    };
  }
  function attentionForward(...values: (DeviceArray | number | boolean)[]): void {
    const { settings, blocks, width, threads } = attention(values, 9);
    const arrays = values.slice(0, 9) as DeviceArray[];
    const kernel = device.kernel('attention', 'attentionForward', `${attentionTypes}ppp`);
    const sharedBytes = 4 * (width * width + width + 32 * width);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    const all = [...arrays.slice(0, 6), ...settings, ...arrays.slice(6)];
    device.launch(kernel, [blocks], [threads], all, sharedBytes);
  }
  function attentionBackward(...values: (DeviceArray | number | boolean)[]): void {
    const { settings, blocks, width, spans, threads } = attention(values, 16);
    const arrays = values.slice(0, 16) as DeviceArray[];
    const kernel = device.kernel(
      'attention',
      'attentionBackward',
      `${attentionTypes}${'p'.repeat(11)}`,
    );
    const sharedBytes = 4 * (2 * (width * width + width) + 32 * width + 32);
    if (sharedBytes > 49152) backend.driver.allowShared(kernel, sharedBytes);
    backend.scratch(blocks * (spans + 1) * (width * width + width), (states) => {
      const all = [...arrays.slice(0, 6), ...settings, ...arrays.slice(6), states];
      device.launch(kernel, [blocks], [threads], all, sharedBytes);
    });
  }

  /** Sums of pieces, [pieces, rows, features], into a weight of rows - 1 rows and a bias of one. */
  function weightGradients(
    partial: DeviceArray,
    pieces: number,
    dWeight: DeviceArray,
    dBias: DeviceArray,
  ): void {
    backend.scratch(dWeight.length + dBias.length, (whole) => {
      reduce('Sum', partial, whole, [1, pieces, whole.length], 1);
      backend.driver.copy(dWeight.pointer, whole.pointer, dWeight.byteLength);
      backend.driver.copy(dBias.pointer, whole.pointer + dWeight.byteLength, dBias.byteLength);
    });
  }

  return {
    ...(unary as unknown as Kernels),
    ...(binary as unknown as Kernels),
    Sum: reduction('Sum'),
    Prod: reduction('Prod'),
    Max: reduction('Max'),
    Min: reduction('Min'),
    softmax(x: DeviceArray, y: DeviceArray, rows: number, n: number): void {
      if (rows * n === 0) return;
      const kernel = device.kernel('reduce', 'softmax', 'ppll');
      const threads = n >= 256 ? 256 : 32;
      device.launch(kernel, [Math.min(rows, 65535)], [threads], [x, y, n, rows]);
    },
    AddN(y: DeviceArray, ...terms: DeviceArray[]): void {
      const kernel = device.kernel('elementwise', 'addTo', 'ppl');
      for (const term of terms) device.walk(kernel, y.length, [y, term, y.length]);
    },
    Select: loop('Select', 4),
    LogicalNot: loop('LogicalNot', 2),
    intsToFloats: loop('intsToFloats', 2),
    bytesToFloats: loop('bytesToFloats', 2),
    bytesToInts: loop('bytesToInts', 2),
    floatsToInts: loop('floatsToInts', 2),
    fill(y: DeviceArray, value: number): void {
      if (value === 0 && !Object.is(value, -0)) y.clear();
      else device.walk(device.kernel('elementwise', 'fill', 'pfl'), y.length, [y, value, y.length]);
    },
    fillInts(y: DeviceArray, value: number): void {
      device.walk(device.kernel('elementwise', 'fillInts', 'pil'), y.length, [y, value, y.length]);
    },
    batchNorm,
    matMul,
    // On the matrix units the dense product is faster than additions chosen by spikes.
    spikeMatMul(
      x: DeviceArray,
      weight: DeviceArray,
      y: DeviceArray,
      m: number,
      k: number,
      n: number,
    ): void {
      matMul(x, weight, y, 1, 0, 0, m, n, k, false, false);
    },
    euclideanNorm(x: DeviceArray, result: DeviceArray): void {
      const blocks = device.blocksFor(x.length, 4 * blockThreads);
      backend.scratch(blocks, (partial) => {
        const squares = device.kernel('reduce', 'squaresOf', 'ppl');
        device.launch(squares, [blocks], [blockThreads], [x, partial, x.length]);
        const root = device.kernel('reduce', 'rootOfSum', 'ppi');
        device.launch(root, [1], [1], [partial, result, blocks]);
      });
    },
    countSpikes(x: DeviceArray, counts: DeviceArray): void {
      device.launch(
        device.kernel('reduce', 'countSpikes', 'ppl'),
        [1],
        [1024],
        [x, counts, x.length],
      );
    },
    copy,
    transposeMatrix(x: DeviceArray, y: DeviceArray, rows: number, columns: number): void {
      copy(x, y, Int32Array.of(columns, 1, rows, rows, columns, 1), 2, 0, 0);
    },
    gather(
      x: DeviceArray,
      indices: DeviceArray,
      y: DeviceArray,
      batches: number,
      outer: number,
      extent: number,
      width: number,
    ): void {
      const kernel = device.kernel('arrange', 'gather', 'pppllll' + 'l');
      const chosen = batches === 0 ? 0 : indices.length / batches;
      device.walk(kernel, y.length, [x, indices, y, outer, extent, width, chosen, y.length]);
    },
    segmentSum(x: DeviceArray, segments: DeviceArray, y: DeviceArray, width: number): void {
      const kernel = device.kernel('arrange', 'segmentSum', 'pppll' + 'i');
      const count = width === 0 ? 0 : y.length / width;
      device.walk(kernel, width, [x, segments, y, segments.length, width, count]);
    },
    cutPatches(
      frames: DeviceArray,
      patches: DeviceArray,
      _count: number,
      ...[channels, height, width, size, back]: [number, number, number, number, boolean]
    ): void {
      const kernel = device.kernel('arrange', 'cutPatches', 'ppiiiiil');
      const [from, to] = back ? [patches, frames] : [frames, patches];
      const n = frames.length;
      device.walk(kernel, n, [from, to, channels, height, width, size, back ? 1 : 0, n]);
    },
    siluForward: activation('siluForward'),
    geluForward: activation('geluForward'),
    geluBackward: loop('geluBackward', 3),
    siluBackward: loop('siluBackward', 3),
    siluGateForward: loop('siluGateForward', 3),
    siluGateBackward: loop('siluGateBackward', 5),
    adamw(
      ...values: [...DeviceArray[], number, number, number, number, number, number, number]
    ): void {
      const arrays = values.slice(0, 7) as DeviceArray[];
      const [rate, beta1, beta2, epsilon, decay, step, gradientScale] = values.slice(7) as number[];
      const corrections = [1 - beta1 ** step, 1 - beta2 ** step];
      const n = arrays[0].length;
      device.walk(device.kernel('elementwise', 'adamw', 'pppppppffffffffl'), n, [
        ...arrays,
        ...[rate, beta1, beta2, epsilon, decay, ...corrections, gradientScale, n],
      ]);
    },
    crossEntropyForward(
      logits: DeviceArray,
      targets: DeviceArray,
      loss: DeviceArray,
      rows: number,
      classes: number,
    ): void {
      const kernel = device.kernel('reduce', 'crossEntropyForward', 'pppli');
      device.walk(kernel, 32 * rows, [logits, targets, loss, rows, classes]);
    },
    crossEntropyBackward(
      logits: DeviceArray,
      targets: DeviceArray,
      dLoss: DeviceArray,
      dLogits: DeviceArray,
      dTargets: DeviceArray,
      rows: number,
      classes: number,
    ): void {
      const kernel = device.kernel('reduce', 'crossEntropyBackward', 'pppppli');
      device.walk(kernel, 32 * rows, [logits, targets, dLoss, dLogits, dTargets, rows, classes]);
    },
    batchNormForward(
      x: DeviceArray,
      scale: DeviceArray,
      shift: DeviceArray,
      y: DeviceArray,
      mean: DeviceArray,
      variance: DeviceArray,
      rows: number,
      features: number,
      epsilon: number,
    ): void {
      const pieces = piecesOf(rows, features);
      backend.scratch(2 * pieces * features, (partial) => {
        backend.scratch(features, (factor) => {
          const sums = device.kernel('normalise', 'batchNormSums', 'pplii');
          const grid = byFeature(features, pieces);
          device.launch(sums, grid, [32, 8], [x, partial, rows, features, pieces]);
          const join = [x, partial, scale, mean, variance, factor, rows, features, pieces, epsilon];
          perFeature('batchNormJoin', 'pppppplii' + 'f', features, join);
          const apply = device.kernel('normalise', 'batchNormApply', 'pppppil');
          device.walk(apply, y.length, [x, mean, factor, shift, y, features, y.length]);
        });
      });
    },
    batchNormFixed(
      x: DeviceArray,
      scale: DeviceArray,
      shift: DeviceArray,
      mean: DeviceArray,
      variance: DeviceArray,
      y: DeviceArray,
      _rows: number,
      features: number,
      epsilon: number,
    ): void {
      batchNorm(x, mean, variance, scale, shift, y, features, epsilon);
    },
    batchNormBackward(
      x: DeviceArray,
      scale: DeviceArray,
      mean: DeviceArray,
      variance: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dScale: DeviceArray,
      dShift: DeviceArray,
      rows: number,
      features: number,
      epsilon: number,
    ): void {
      const pieces = piecesOf(rows, features);
      backend.scratch(2 * pieces * features, (partial) => {
        const sums = device.kernel('normalise', 'batchNormGradientSums', 'ppppplii' + 'f');
        const values = [x, mean, variance, dY, partial, rows, features, pieces, epsilon];
        device.launch(sums, byFeature(features, pieces), [32, 8], values);
        const join = [partial, dScale, dShift, features, pieces];
        perFeature('batchNormGradientJoin', 'pppii', features, join);
        const apply = device.kernel('normalise', 'batchNormGradient', 'pppppppp' + 'lifl');
        const to = [
          x,
          scale,
          mean,
          variance,
          dY,
          dScale,
          dShift,
          dX,
          rows,
          features,
          epsilon,
          dX.length,
        ];
        device.walk(apply, dX.length, to);
      });
    },
    rmsNormForward(x: DeviceArray, scale: DeviceArray, y: DeviceArray, ...sizes: number[]): void {
      normaliseRows(x, scale, 0, y, ...(sizes as [number, number, number]));
    },
    layerNormForward(
      x: DeviceArray,
      scale: DeviceArray,
      shift: DeviceArray,
      y: DeviceArray,
      ...sizes: number[]
    ): void {
      normaliseRows(x, scale, shift, y, ...(sizes as [number, number, number]));
    },
    rmsNormBackward(
      x: DeviceArray,
      scale: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dScale: DeviceArray,
      ...sizes: number[]
    ): void {
      normaliseRowsBack(x, scale, dY, dX, dScale, undefined, sizes);
    },
    layerNormBackward(
      x: DeviceArray,
      scale: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dScale: DeviceArray,
      dShift: DeviceArray,
      ...sizes: number[]
    ): void {
      normaliseRowsBack(x, scale, dY, dX, dScale, dShift, sizes);
    },
    causalConv1dForward(
      ...values: [
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        DeviceArray,
        ...unknown[],
      ]
    ): void {
      const arrays = values.slice(0, 6) as DeviceArray[];
      const [batch, length, channels, taps, reverse] = values.slice(6) as number[];
      const kernel = device.kernel('convolve', 'causalConv1dForward', 'ppppppiiiii');
      const count = batch * (length + taps - 1) * channels;
      device.walk(kernel, count, [...arrays, batch, length, channels, taps, Number(reverse)]);
    },
    causalConv1dBackward(...values: unknown[]): void {
      const [x, weight, initial, dY, dLast, dX, dWeight, dBias, dInitial] = values.slice(
        0,
        9,
      ) as DeviceArray[];
      const [batch, length, channels, taps, reverse] = values.slice(9).map(Number);
      const inputs = device.kernel('convolve', 'causalConv1dInputs', 'pppppiiiii');
      const sizes = [batch, length, channels, taps, reverse];
      const count = batch * (length + taps - 1) * channels;
      device.walk(inputs, count, [weight, dY, dLast, dX, dInitial, ...sizes]);
      const pieces = piecesOf(batch * length, channels);
      backend.scratch(pieces * (taps + 1) * channels, (partial) => {
        const weights = device.kernel('convolve', 'causalConv1dWeights', 'ppppiiiiii');
        const from = [x, initial, dY, partial, ...sizes, pieces];
        device.launch(weights, byFeature(channels, pieces, taps + 1), [32, 8], from);
        weightGradients(partial, pieces, dWeight, dBias);
      });
    },
    depthwiseSameForward(
      x: DeviceArray,
      weight: DeviceArray,
      bias: DeviceArray,
      y: DeviceArray,
      ...[, height, width, channels, size]: number[]
    ): void {
      const kernel = device.kernel('convolve', 'depthwiseSame', 'ppppiiiiil');
      const sizes = [height, width, channels, size, 0, y.length];
      device.walk(kernel, y.length, [x, weight, bias, y, ...sizes]);
    },
    depthwiseSameBackward(
      x: DeviceArray,
      weight: DeviceArray,
      dY: DeviceArray,
      dX: DeviceArray,
      dWeight: DeviceArray,
      dBias: DeviceArray,
      ...[frames, height, width, channels, size]: number[]
    ): void {
      const back = device.kernel('convolve', 'depthwiseSame', 'ppppiiiiil');
      device.walk(back, dX.length, [
        ...[dY, weight, 0, dX, height, width, channels, size, 1, dX.length],
      ]);
      const pieces = piecesOf(frames * height * width, channels);
      backend.scratch(pieces * (size * size + 1) * channels, (partial) => {
        const weights = device.kernel('convolve', 'depthwiseWeights', 'pppiiiiii');
        const values = [x, dY, partial, frames, height, width, channels, size, pieces];
        device.launch(weights, byFeature(channels, pieces, size * size + 1), [32, 8], values);
        weightGradients(partial, pieces, dWeight, dBias);
      });
    },
    lifForward,
    lifBackward,
    scanForward,
    scanBackward,
    attentionForward,
    attentionBackward,
  } as unknown as Kernels;

  /** An address within a larger array; its length is the reader's business. */
  function view(pointer: number): DeviceArray {
    return { pointer } as DeviceArray;
  }
}

const unaryNames = [
  ...[
    'Abs',
    'Ceil',
    'ClipByValue',
    'Cos',
    'Elu',
    'Erf',
    'Exp',
    'Expm1',
    'Floor',
    'LeakyRelu',
    'Log',
  ],
  ...['Log1p', 'Neg', 'Reciprocal', 'Relu', 'Relu6', 'Round', 'Rsqrt', 'Selu', 'Sigmoid', 'Sign'],
  ...['Sin', 'Softplus', 'Sqrt', 'Square', 'Step', 'Tanh'],
];

const binaryNames = [
  ...[
    'Add',
    'Sub',
    'Multiply',
    'RealDiv',
    'Maximum',
    'Minimum',
    'Pow',
    'SquaredDifference',
    'Prelu',
  ],
  ...['EluGrad', 'Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual'],
  ...['LogicalAnd', 'LogicalOr', 'addInts', 'subtractInts', 'multiplyInts', 'EqualInts'],
  ...['NotEqualInts', 'GreaterInts', 'GreaterEqualInts', 'LessInts', 'LessEqualInts'],
];

/** Axes as the kernels take them: rank, then eight extents, strides and strides, the innermost last. */
function axesOf(dims: Int32Array, rank: number): number[] {
  if (rank > 8) throw new Error(`the device takes 8 axes at most, found ${rank}`);
  const column = (which: number): number[] =>
    Array.from({ length: 8 }, (_, d) => (d < rank ? dims[3 * d + which] : 0));
  return [rank, ...column(0), ...column(1), ...column(2)];
}

/** Whether axes are planes whose two inner axes change places; rows and columns as they lie in x. */
function transposition(
  dims: Int32Array,
  rank: number,
): { planes: number; rows: number; columns: number } | undefined {
  if (rank !== 2 && rank !== 3) return undefined;
  const at = 3 * (rank - 2);
  // In the order of y: its outer axis runs along x's columns, its inner one along x's rows.
  const [columns, fromColumn, toColumn] = dims.subarray(at, at + 3);
  const [rows, fromRow, toRow] = dims.subarray(at + 3, at + 6);
  const whole = fromColumn === 1 && fromRow === columns && toColumn === rows && toRow === 1;
  if (!whole || Math.ceil(rows / 32) > 65535) return undefined;
  if (rank === 2) return { planes: 1, rows, columns };
  const [planes, from, to] = dims;
  return from === rows * columns && to === from ? { planes, rows, columns } : undefined;
}

/** Settings as the struct `Neuron` has them; engine/native/ops/lif.ts gives their order here. */
function neuronOf(settings: Float64Array): number[] {
  const [tau, threshold, , decayInput, , , width, strength, decay] = settings;
  const gain = decayInput === 1 && tau !== Infinity ? 1 / tau : 1;
  return [1 - 1 / tau, gain, threshold, width, strength, decay];
}
