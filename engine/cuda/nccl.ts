import * as tf from '@tensorflow/tfjs-core';

import { Peers, type PeersOptions } from '../transport/peers.js';
import type { Reduction, Transport } from '../transport/transport.js';
import type { CudaBackend, DeviceOutput } from './backend.js';
import { byteStruct, openLibrary, StatusCalls } from './libraries.js';

const float32 = 7;
const operations = { sum: 0, mean: 4 } as const;
const idBytes = 128;
/** How long a process that waits for its GPU may take to notice that another one ended. */
const patienceMs = 10_000;

/** What a transport is made of. */
export interface NcclParts {
  readonly backend: CudaBackend;
  readonly peers: Pick<Peers, 'rank' | 'world' | 'broadcastText' | 'any' | 'close'>;
  readonly nccl: Pick<StatusCalls, 'call'>;
  readonly communicator: bigint;
  /** For NCCL's work. */
  readonly stream: bigint;
  /** Orders it with the backend's. */
  readonly event: bigint;
}

/**
 * A `Transport` whose tensors go from GPU to GPU by NCCL 2 (2.10 and later, for averages), on a stream of its own:
 * reductions run beside what the backend computes, and in graphs as well. One process per GPU. Texts and flags go by TCP,
 * which also notices processes that end; since one that waits for its GPU cannot be told, it is killed then.
 */
export class NcclTransport implements Transport {
  readonly rank: number;
  readonly world: number;

  constructor(private readonly parts: NcclParts) {
    ({ rank: this.rank, world: this.world } = parts.peers);
  }

  /** 2.27.3, for reports. */
  get version(): string {
    const out = new Int32Array(16);
    this.parts.nccl.call('int ncclGetVersion(int *version)', out);
    const [code] = out;
    return `${Math.floor(code / 10_000)}.${Math.floor(code / 100) % 100}.${code % 100}`;
  }

  /** @throws Error saying what is missing; SaccadeError of kind `environment` where not all processes come in time. */
  static async open(backend: CudaBackend, options: PeersOptions): Promise<NcclTransport> {
    const { rank, world } = options;
    const nccl = ncclCalls();
    const peers = await Peers.open({ ...options, killAfterMs: patienceMs });
    const id = new Uint8Array(idBytes);
    if (rank === 0) nccl.call('int ncclGetUniqueId(uint8_t *id)', id);
    const communicator = nccl.make(
      'int ncclCommInitRank(uint64_t *communicator, int world, ncclUniqueId id, int rank)',
      world,
      { bytes: peers.broadcast(id) },
      rank,
    );
    const stream = backend.driver.createStream();
    const event = backend.driver.createEvent();
    return new NcclTransport({ backend, peers, nccl, communicator, stream, event });
  }

  reduce(tensors: readonly tf.Tensor[], operation: 'sum' | 'mean'): Reduction {
    return this.start(tensors, (from, to, length) =>
      this.parts.nccl.call(
        'int ncclAllReduce(uint64_t from, uint64_t to, size_t count, int type, int operation, ' +
          'uint64_t communicator, uint64_t stream)',
        from,
        to,
        length,
        float32,
        // The average of one process has left out the end of an array (2.28.9).
        operations[this.world === 1 ? 'sum' : operation],
        this.parts.communicator,
        this.parts.stream,
      ),
    );
  }

  broadcast(tensors: readonly tf.Tensor[]): tf.Tensor[] {
    const { finish } = this.start(tensors, (from, to, length) =>
      this.parts.nccl.call(
        'int ncclBroadcast(uint64_t from, uint64_t to, size_t count, int type, int root, ' +
          'uint64_t communicator, uint64_t stream)',
        from,
        to,
        length,
        float32,
        0,
        this.parts.communicator,
        this.parts.stream,
      ),
    );
    return finish();
  }

  shareText(text: string): string {
    return this.parts.peers.broadcastText(text);
  }

  any(flag: boolean): boolean {
    return this.parts.peers.any(flag);
  }

  async close(): Promise<void> {
    this.parts.backend.driver.synchronise();
    this.parts.nccl.call('int ncclCommDestroy(uint64_t communicator)', this.parts.communicator);
    await this.parts.peers.close();
  }

  /** Starts one call of NCCL for each tensor, all of them as one launch. */
  private start(
    tensors: readonly tf.Tensor[],
    call: (from: number, to: number, length: number) => void,
  ): Reduction {
    const { backend, nccl, stream, event } = this.parts;
    const { driver } = backend;
    // They stay until the end: their memory must not be used again while it is read.
    const inputs = tensors.map((tensor) => tf.keep(tf.clone(tensor)));
    const pairs = inputs.map((input): [from: number, output: DeviceOutput] => [
      backend.values(input).pointer,
      backend.output(input.shape),
    ]);
    driver.order(driver.stream, stream, event);
    nccl.call('int ncclGroupStart()');
    for (const [from, { values }] of pairs) {
      if (values.length > 0) call(from, values.pointer, values.length);
    }
    nccl.call('int ncclGroupEnd()');
    return {
      finish: () => {
        driver.order(stream, driver.stream, event);
        tf.dispose(inputs);
        return pairs.map(([, { dataId, shape, dtype }]) =>
          tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype }),
        );
      },
    };
  }
}

/** NCCL's functions. Throws an Error that says where it was looked for. */
export function ncclCalls(): StatusCalls {
  const library = openLibrary(['libnccl.so.2', 'libnccl.so'], 'NCCL');
  byteStruct('ncclUniqueId', idBytes);
  const describe = library.func('const char *ncclGetErrorString(int status)');
  return new StatusCalls(
    library,
    (status, name) => new Error(`${name} failed: ${describe(status) as string} (NCCL ${status})`),
  );
}
