import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../engine/support/errors.js';
import { TcpTransport } from '../engine/transport/tcpTransport.js';
import type { Transport } from '../engine/transport/transport.js';

/** Which one of several processes this is, and where they meet. */
export interface ProcessPlace {
  /** From 0. */
  readonly rank: number;
  readonly world: number;
  /** Where process 0 listens. */
  readonly host: string;
  readonly port: number;
  /** Processes of each machine, where several have as many each. */
  readonly perNode?: number;
  /** How long the others may take to come, ms. */
  readonly connectTimeoutMs?: number;
  /** What all of them must know, where others can reach the address. */
  readonly token?: string;
}

/** The environment variable that sets what connects processes: `nccl` or `tcp`. */
export const transportVariable = 'SACCADE_TRANSPORT';

/**
 * Connects the processes of a job. Where the backend in use is `cuda`, tensors go by NCCL, otherwise by TCP.
 *
 * @throws SaccadeError of kind `environment` where not all of them come, or NCCL is missing.
 */
export async function openTransport(
  place: ProcessPlace,
  choice = process.env[transportVariable] ?? (tf.getBackend() === 'cuda' ? 'nccl' : 'tcp'),
): Promise<Transport> {
  if (choice === 'tcp') return TcpTransport.open(place);
  if (choice !== 'nccl' || tf.getBackend() !== 'cuda') {
    const expected = tf.getBackend() === 'cuda' ? 'nccl or tcp' : 'tcp, since the GPU is not used';
    throw new SaccadeError('usage', `is '${choice}', expected ${expected}`, {
      field: transportVariable,
    });
  }
  const { NcclTransport } = await import('../engine/cuda/nccl.js');
  try {
    return await NcclTransport.open(tf.backend() as never, place);
  } catch (error) {
    if (error instanceof SaccadeError) throw error;
    const fix = `install it (SACCADE_CUDA_LIBRARIES may name its folder), or set ${transportVariable}=tcp`;
    throw new SaccadeError('environment', `${(error as Error).message}; ${fix}`, {}, error);
  }
}
