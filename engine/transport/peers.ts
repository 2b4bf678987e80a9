import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
} from 'node:worker_threads';

import { SaccadeError } from '../support/errors.js';
import type { PeersAnswer, PeersData, PeersRequest } from './messages.js';

export interface PeersOptions {
  readonly rank: number;
  readonly world: number;
  /** Address of process 0. */
  readonly host: string;
  readonly port: number;
  /** How long processes may come after each other, ms. */
  readonly connectTimeoutMs?: number;
  /** Processes of each machine, where several have as many each: errors then name the machine too. */
  readonly perNode?: number | undefined;
  /** What all of them must know, where others can reach the address. It is not sent. */
  readonly token?: string | undefined;
  /** See `PeersData`. For work that waits where no error can reach it. */
  readonly killAfterMs?: number;
  /** The compiled `peersThread.ts`, where it does not lie beside this module, as in a bundle. */
  readonly entry?: URL;
}

/** A sum that is on its way. */
export interface PendingSum {
  finish(): Float32Array;
}

/**
 * Processes that are connected by TCP, each with process 0, which adds in the order of their numbers. A thread does
 * it, so that a caller may go on meanwhile, and may wait in the middle of a computation.
 */
export class Peers {
  private asked = 0;
  private failure: string | undefined;

  private constructor(
    readonly rank: number,
    readonly world: number,
    private readonly worker: Worker,
    private readonly port: MessagePort,
    private readonly finished: Int32Array,
  ) {}

  /** @throws SaccadeError of kind `environment` where not all processes come in time. */
  static async open(options: PeersOptions): Promise<Peers> {
    const { rank, world, host, port, connectTimeoutMs = 120_000, killAfterMs } = options;
    const { perNode, token = '' } = options;
    const { entry = new URL('./peersThread.js', import.meta.url) } = options;
    if (!existsSync(fileURLToPath(entry))) {
      throw new SaccadeError('environment', 'several processes need built code: `npm run build`');
    }
    const finished = new SharedArrayBuffer(8);
    const place = { rank, world, host, port, perNode, token };
    const data: PeersData = { ...place, connectTimeoutMs, killAfterMs, finished };
    const channel = new MessageChannel();
    const worker = new Worker(entry, {
      workerData: { ...data, answers: channel.port2 },
      transferList: [channel.port2],
    });
    const answer = await new Promise<PeersAnswer>((resolve, reject) => {
      channel.port1.once('message', resolve);
      worker.once('error', reject);
    });
    // From now on answers are fetched, not waited for: the thread may live as long as the process does.
    worker.unref();
    channel.port1.unref();
    if (answer.kind === 'failed') {
      await worker.terminate();
      throw new SaccadeError('environment', answer.message);
    }
    return new Peers(rank, world, worker, channel.port1, new Int32Array(finished));
  }

  /** Starts to add arrays of one length elementwise; all processes get the same. */
  sum(values: Float32Array): PendingSum {
    return this.start('sum', values);
  }

  /** Process 0's bytes; those of the others must be as many. */
  broadcast(bytes: Uint8Array): Uint8Array {
    const padded = new Float32Array(Math.ceil(bytes.length / 4));
    new Uint8Array(padded.buffer).set(bytes);
    const result = this.start('broadcast', padded).finish();
    return new Uint8Array(result.buffer, 0, bytes.length).slice();
  }

  /** Process 0's text. */
  broadcastText(text: string): string {
    const bytes = new TextEncoder().encode(text);
    const length = this.broadcast(
      Uint8Array.from(new Uint8Array(new Uint32Array([bytes.length]).buffer)),
    );
    const count = new DataView(length.buffer).getUint32(0, true);
    const own = this.rank === 0 ? bytes : new Uint8Array(count);
    return new TextDecoder().decode(this.broadcast(own));
  }

  /** Whether any process says yes. */
  any(flag: boolean): boolean {
    return this.sum(Float32Array.of(flag ? 1 : 0)).finish()[0] > 0;
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.worker.once('exit', resolve));
    this.worker.ref();
    this.post({ kind: 'close' });
    await ended;
    this.port.close();
  }

  private start(kind: 'sum' | 'broadcast', given: Float32Array): PendingSum {
    const values = new SharedArrayBuffer(given.byteLength);
    const shared = new Float32Array(values);
    shared.set(given);
    this.requireAll();
    const number = ++this.asked;
    this.post({ kind, values });
    return {
      finish: () => {
        this.waitFor(number);
        // Memory that is not shared: others may keep it.
        return shared.slice();
      },
    };
  }

  private post(request: PeersRequest): void {
    this.worker.postMessage(request);
  }

  private waitFor(number: number): void {
    for (;;) {
      const changes = Atomics.load(this.finished, 1);
      if (Atomics.load(this.finished, 0) >= number) return;
      this.requireAll();
      Atomics.wait(this.finished, 1, changes);
    }
  }

  /** @throws SaccadeError where a process is gone. */
  private requireAll(): void {
    const received = receiveMessageOnPort(this.port) as { message: PeersAnswer } | undefined;
    if (received?.message.kind === 'failed') this.failure = received.message.message;
    if (this.failure !== undefined) throw new SaccadeError('environment', this.failure);
  }
}
