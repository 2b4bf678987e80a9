import { SaccadeError } from '../support/errors.js';
import type { Driver } from './driver.js';
import { openLibrary, StatusCalls } from './libraries.js';

/** How matrix products are computed; sums are float32 in all of them. */
export const precisions = ['float32', 'tf32', 'bf16'] as const;
export type Precision = (typeof precisions)[number];

/** The environment variable that sets the precision. */
export const precisionVariable = 'SACCADE_CUDA_PRECISION';

/** cublasComputeType_t: sums in float32; TF32 rounds float32 operands on their way to the matrix units. */
const computeTypes: Readonly<Record<Precision, number>> = { float32: 68, tf32: 77, bf16: 68 };
/** cudaDataType of operands: bf16 ones are rounded before, as cuBLASLt takes TF32 where it is to round by itself. */
const operandTypes: Readonly<Record<Precision, number>> = { float32: 0, tf32: 0, bf16: 14 };

export function wantedPrecision(): Precision {
  const wanted = process.env[precisionVariable] ?? 'float32';
  if ((precisions as readonly string[]).includes(wanted)) return wanted as Precision;
  throw new SaccadeError(
    'usage',
    `unknown precision '${wanted}', expected ${precisions.join(', ')}`,
    {
      field: precisionVariable,
    },
  );
}

/** A product of row-major matrices: c[m, n] = a[m, k] · b[k, n], for each of `batches`. */
export interface Product {
  readonly batches: number;
  /** Elements from one matrix of a (or b) to the next; 0 where all batches share one. */
  readonly aStride: number;
  readonly bStride: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Whether a lies as [k, m], b as [n, k]. */
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

interface Plan {
  readonly description: bigint;
  readonly layouts: readonly bigint[];
  /** cublasLtMatmulAlgo_t */
  readonly algorithm: Uint8Array;
  readonly precision: Precision;
}

const workspaceBytes = 32 << 20;
const mostPlans = 4096;

/** Matrix products through cuBLASLt. The algorithm of each shape is chosen once. */
export class MatrixProducts {
  readonly path: string;
  private readonly handle: bigint;
  private readonly preference: bigint;
  private readonly workspace: number;
  private readonly plans = new Map<string, Plan>();
  private readonly calls: StatusCalls;
  private readonly one = Float32Array.of(1, ...new Array<number>(15).fill(0));
  private readonly zero = new Float32Array(16);
  /** Lends the address of so many values rounded to bf16. */
  rounded: (values: number, count: number, use: (rounded: number) => void) => void = () => {
    throw new Error('nobody rounds to bf16');
  };

  /** @throws Error saying what is missing, where there is no cuBLASLt. */
  constructor(
    private readonly driver: Driver,
    private wanted: Precision,
  ) {
    const library = openLibrary(
      [
        'libcublasLt.so.13',
        'libcublasLt.so.12',
        'libcublasLt.so',
        'cublasLt64_13.dll',
        'cublasLt64_12.dll',
      ],
      'cuBLASLt',
    );
    this.path = library.path;
    this.calls = new StatusCalls(
      library,
      (status, name) => new Error(`${name} failed (cuBLAS status ${status})`),
    );
    this.handle = this.calls.make('int cublasLtCreate(uint64_t *handle)');
    this.preference = this.calls.make('int cublasLtMatmulPreferenceCreate(uint64_t *preference)');
    this.calls.call(
      'int cublasLtMatmulPreferenceSetAttribute(uint64_t preference, int attribute, uint64_t *value, size_t bytes)',
      this.preference,
      1,
      BigUint64Array.of(BigInt(workspaceBytes), ...new Array<bigint>(15).fill(0n)),
      8,
    );
    this.workspace = driver.allocate(workspaceBytes)!;
  }

  get precision(): Precision {
    return this.wanted;
  }

  /** For products from now on. */
  set precision(precision: Precision) {
    if (precision !== this.wanted) this.forget();
    this.wanted = precision;
  }

  run(a: number, b: number, c: number, product: Product): void {
    const key = Object.values(product).join();
    let plan = this.plans.get(key);
    if (plan === undefined) {
      if (this.plans.size >= mostPlans) this.forget();
      plan = this.planFor(product);
      this.plans.set(key, plan);
    }
    if (plan.precision !== 'bf16') {
      this.multiply(a, b, c, plan);
      return;
    }
    const { batches, aStride, bStride, m, n, k } = product;
    this.rounded(a, (aStride === 0 ? 1 : batches) * m * k, (first) =>
      this.rounded(b, (bStride === 0 ? 1 : batches) * k * n, (second) =>
        this.multiply(first, second, c, plan),
      ),
    );
  }

  private multiply(a: number, b: number, c: number, plan: Plan): void {
    const [first, second, result] = plan.layouts;
    this.driver.launches++;
    // Row-major is column-major transposed: cᵀ = bᵀ aᵀ.
    this.calls.call(
      'int cublasLtMatmul(uint64_t handle, uint64_t description, float *alpha, uint64_t a, uint64_t aLayout, uint64_t b, ' +
        'uint64_t bLayout, float *beta, uint64_t c, uint64_t cLayout, uint64_t d, uint64_t dLayout, uint8_t *algorithm, ' +
        'uint64_t workspace, size_t bytes, uint64_t stream)',
      this.handle,
      plan.description,
      this.one,
      b,
      first,
      a,
      second,
      this.zero,
      c,
      result,
      c,
      result,
      plan.algorithm,
      this.workspace,
      workspaceBytes,
      this.driver.stream,
    );
  }

  private planFor(product: Product): Plan {
    const wanted = this.plan(product, this.precision);
    // Shapes that bf16 is not made for are multiplied in TF32, which is no less precise.
    const plan = wanted ?? (this.precision === 'bf16' ? this.plan(product, 'tf32') : undefined);
    if (plan !== undefined) return plan;
    const { m, k, n } = product;
    throw new Error(`cuBLASLt has no algorithm for ${m} × ${k} × ${n}`);
  }

  private plan(
    { batches, aStride, bStride, m, n, k, transposeA, transposeB }: Product,
    precision: Precision,
  ): Plan | undefined {
    const description = this.calls.make(
      'int cublasLtMatmulDescCreate(uint64_t *description, int compute, int scale)',
      computeTypes[precision],
      0,
    );
    const set = (attribute: number, value: number): void =>
      this.calls.call(
        'int cublasLtMatmulDescSetAttribute(uint64_t description, int attribute, int *value, size_t bytes)',
        description,
        attribute,
        Int32Array.of(value, ...new Array<number>(15).fill(0)),
        4,
      );
    set(3, transposeB ? 1 : 0);
    set(4, transposeA ? 1 : 0);
    const type = operandTypes[precision];
    const [bRows, bColumns] = transposeB ? [k, n] : [n, k];
    const [aRows, aColumns] = transposeA ? [m, k] : [k, m];
    const layouts = [
      this.layout(type, bRows, bColumns, batches, bStride),
      this.layout(type, aRows, aColumns, batches, aStride),
      this.layout(0, n, m, batches, m * n),
    ];
    // cublasLtMatmulHeuristicResult_t: 64 bytes of algorithm, then what it needs.
    const found = new Uint8Array(256);
    const count = new Int32Array(16);
    const status = this.calls.status(
      'int cublasLtMatmulAlgoGetHeuristic(uint64_t handle, uint64_t description, uint64_t a, uint64_t b, uint64_t c, ' +
        'uint64_t d, uint64_t preference, int requested, uint8_t *found, int *count)',
      this.handle,
      description,
      layouts[0],
      layouts[1],
      layouts[2],
      layouts[2],
      this.preference,
      1,
      found,
      count,
    );
    if (status !== 0 || count[0] === 0) {
      this.destroy(description, layouts);
      return undefined;
    }
    return { description, layouts, algorithm: found.slice(0, 64), precision };
  }

  private layout(
    type: number,
    rows: number,
    columns: number,
    batches: number,
    stride: number,
  ): bigint {
    const layout = this.calls.make(
      'int cublasLtMatrixLayoutCreate(uint64_t *layout, int type, uint64_t rows, uint64_t columns, int64_t leading)',
      type,
      rows,
      columns,
      rows,
    );
    if (batches > 1) {
      const set =
        'int cublasLtMatrixLayoutSetAttribute(uint64_t layout, int attribute, int64_t *value, size_t bytes)';
      const value = new BigInt64Array(16);
      value[0] = BigInt(batches);
      this.calls.call(set, layout, 5, value, 4);
      value[0] = BigInt(stride);
      this.calls.call(set, layout, 6, value, 8);
    }
    return layout;
  }

  private forget(): void {
    for (const { description, layouts } of this.plans.values()) this.destroy(description, layouts);
    this.plans.clear();
  }

  private destroy(description: bigint, layouts: readonly bigint[]): void {
    this.calls.call('int cublasLtMatmulDescDestroy(uint64_t description)', description);
    for (const layout of layouts) {
      this.calls.call('int cublasLtMatrixLayoutDestroy(uint64_t layout)', layout);
    }
  }
}
