import * as tf from '@tensorflow/tfjs-core';

import { Peers, type PeersOptions } from './peers.js';
import type { Reduction, Transport } from './transport.js';

/** A `Transport` through memory of the host and TCP: for every backend, and the reference for faster ones. */
export class TcpTransport implements Transport {
  readonly rank: number;
  readonly world: number;

  private constructor(private readonly peers: Peers) {
    this.rank = peers.rank;
    this.world = peers.world;
  }

  /** @throws SaccadeError of kind `environment` where not all processes come in time. */
  static async open(options: PeersOptions): Promise<TcpTransport> {
    return new TcpTransport(await Peers.open(options));
  }

  reduce(tensors: readonly tf.Tensor[], operation: 'sum' | 'mean'): Reduction {
    const pending = this.peers.sum(joined(tensors));
    const shapes = tensors.map(({ shape }) => shape);
    return {
      finish: () => {
        const values = pending.finish();
        if (operation === 'mean') for (let i = 0; i < values.length; i++) values[i] /= this.world;
        return split(values, shapes);
      },
    };
  }

  broadcast(tensors: readonly tf.Tensor[]): tf.Tensor[] {
    const values = this.peers.broadcast(new Uint8Array(joined(tensors).buffer));
    return split(
      new Float32Array(values.buffer),
      tensors.map(({ shape }) => shape),
    );
  }

  shareText(text: string): string {
    return this.peers.broadcastText(text);
  }

  any(flag: boolean): boolean {
    return this.peers.any(flag);
  }

  close(): Promise<void> {
    return this.peers.close();
  }
}

/** The values of all tensors, one after the other. */
function joined(tensors: readonly tf.Tensor[]): Float32Array {
  const values = new Float32Array(tensors.reduce((sum, { size }) => sum + size, 0));
  let at = 0;
  for (const tensor of tensors) {
    values.set(tensor.dataSync(), at);
    at += tensor.size;
  }
  return values;
}

function split(values: Float32Array, shapes: readonly number[][]): tf.Tensor[] {
  let at = 0;
  return shapes.map((shape) => {
    const size = tf.util.sizeFromShape(shape);
    const tensor = tf.tensor(values.slice(at, at + size), shape, 'float32');
    at += size;
    return tensor;
  });
}
