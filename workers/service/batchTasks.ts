/** Tasks of the thread in which a service's model lives, with the states of its streams. */
import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../../engine/backend.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { splitState, stackStates, type StoredClipState } from '../../models/clipStates.js';
import { inference, Recorder } from '../../models/context.js';
import type { Experiment } from '../experiment.js';
import type { ModelSetup } from '../modelTasks.js';
import { checkpointHash, loadModel } from '../runs.js';
import { ResidentStates } from './residentStates.js';

export interface ServedModel {
  readonly path: string;
  /** Hash of the checkpoint file: states fit no others. */
  readonly hash: string;
  readonly experiment: Experiment;
  readonly classes: readonly string[];
  readonly synthetic: boolean;
  readonly streaming: boolean;
  readonly backend: string;
  /** Spiking layers; those with more neurons than `sampledNeurons` are sampled at even distances. */
  readonly layers: readonly { path: string; neurons: number; sampled: number }[];
}

/** One time bin of each of several streams. */
export interface BinBatch {
  /** Numbers of the streams, each once. */
  readonly streams: readonly number[];
  /** Whether a new clip begins with the bin. */
  readonly fresh: readonly boolean[];
  /** Whether spikes are wanted. */
  readonly watched: readonly boolean[];
  /** `[streams, channels, height, width]`, row-major. */
  readonly values: Float32Array;
}

export interface SpikeSample {
  /** Share of a layer's neurons that fired, in the order of `ServedModel.layers`. */
  readonly rates: readonly number[];
  /** Bits of the sampled neurons of each layer, least significant first. */
  readonly raster: readonly Uint8Array[];
}

export interface BinBatchResult {
  /** `[streams, classes]`. */
  readonly probabilities: Float32Array;
  /** Bins that each stream's state holds. */
  readonly frames: readonly number[];
  readonly spikes: readonly (SpikeSample | undefined)[];
}

export const sampledNeurons = 64;

export default async function batchTasks({ path, backend }: ModelSetup) {
  const { name } = await selectBackend(backend);
  const loaded = await loadModel(path);
  const { model, parameters, classes, experiment, synthetic } = loaded;
  const { channels, height, width } = model.input;
  const hash = await checkpointHash(loaded.path);
  if (model.growingState === true) {
    throw new SaccadeError(
      'usage',
      'the state of its mixer grows with the stream: it cannot be served without end; train one whose state is bounded',
      { file: path, field: 'model.mixer' },
    );
  }
  const frameLength = channels * height * width;
  const states = new Map<number, StoredClipState>();
  const residents = new ResidentStates(model, parameters, states);

  const run = (
    before: readonly (StoredClipState | undefined)[],
    values: Float32Array,
    recorder: Recorder | undefined,
  ): { probabilities: Float32Array; after: StoredClipState[] } => {
    const batch = before.length;
    let result: { probabilities: Float32Array; after: StoredClipState[] };
    // `tidy` looks through what it returns for tensors, number by number, so it returns nothing.
    tf.tidy(() => {
      const input = tf.tensor(values, [batch, 1, channels, height, width]);
      const context = { ...inference, recorder };
      const { logits, state } = model.apply(parameters, input, stackStates(before), context);
      const probabilities = tf.softmax(tf.reshape(logits, [batch, classes.length]));
      result = {
        probabilities: probabilities.dataSync<'float32'>().slice(),
        after: splitState(state, batch),
      };
    });
    return result!;
  };

  /** A frame without events shows the layers and what a state looks like, and warms the backend up. */
  const look = (): { layers: ServedModel['layers']; template: StoredClipState } => {
    const recorder = new Recorder({ spikes: true });
    const blank = new Float32Array(frameLength);
    const { after } = run([undefined], blank, recorder);
    const layers = [...recorder.spikes!].map(([layer, spikes]) => {
      const neurons = spikes.size;
      return { path: layer, neurons, sampled: Math.min(neurons, sampledNeurons) };
    });
    recorder.dispose();
    return { layers, template: after[0] };
  };
  const { layers, template } = model.streaming ? look() : { layers: [], template: undefined };

  return {
    describe: (): ServedModel => ({
      path: loaded.path,
      hash,
      experiment,
      classes,
      synthetic,
      streaming: model.streaming,
      backend: name,
      layers,
    }),

    step({ streams, fresh, watched, values }: BinBatch): BinBatchResult {
      const plain = fresh.includes(true) || watched.includes(true);
      if (plain) residents.settle(streams);
      const replayed = plain ? undefined : residents.step(streams, values);
      if (replayed !== undefined) return { ...replayed, spikes: streams.map(() => undefined) };
      const recorder = watched.includes(true) ? new Recorder({ spikes: true }) : undefined;
      try {
        const before = streams.map((stream, i) => (fresh[i] ? undefined : states.get(stream)));
        const { probabilities, after } = run(before, values, recorder);
        streams.forEach((stream, i) => states.set(stream, after[i]));
        const spikes =
          recorder && [...recorder.spikes!.values()].map((tensor) => tensor.dataSync());
        return {
          probabilities,
          frames: after.map(({ frame }) => frame),
          spikes: watched.map((wanted, i) =>
            wanted ? sampleSpikes(spikes as Float32Array[], i, streams.length) : undefined,
          ),
        };
      } finally {
        recorder?.dispose();
      }
    },

    /** The state of a stream; undefined where it has had no bin. */
    state(stream: number): StoredClipState | undefined {
      return residents.state(stream) ?? states.get(stream);
    },

    /** Gives a stream the state that an earlier one left. */
    restore({ stream, state }: { stream: number; state: StoredClipState }): void {
      checkState(state, template);
      residents.settle([stream]);
      states.set(stream, state);
    },

    release(stream: number): void {
      residents.settle([stream]);
      states.delete(stream);
    },
  };
}

function sampleSpikes(layers: readonly Float32Array[], row: number, rows: number): SpikeSample {
  const rates: number[] = [];
  const raster: Uint8Array[] = [];
  for (const spikes of layers) {
    const neurons = spikes.length / rows;
    const own = spikes.subarray(row * neurons, (row + 1) * neurons);
    rates.push(own.reduce((sum, spike) => sum + spike, 0) / neurons);
    const sampled = Math.min(neurons, sampledNeurons);
    const bits = new Uint8Array(Math.ceil(sampled / 8));
    for (let i = 0; i < sampled; i++) {
      if (own[Math.floor((i * neurons) / sampled)] > 0) bits[i >> 3] |= 1 << (i & 7);
    }
    raster.push(bits);
  }
  return { rates, raster };
}

/** A state from outside: the model's own tensors, with numbers in them. */
function checkState(
  { frame, leaves }: StoredClipState,
  template: StoredClipState | undefined,
): void {
  const wrong = (field: string, message: string): SaccadeError =>
    new SaccadeError('input', `is not a state of this model: ${message}`, {
      file: 'snapshot',
      field,
    });
  if (!Number.isSafeInteger(frame) || frame < 1) throw wrong('frame', `${frame} frames`);
  for (const [path, { shape, data }] of leaves) {
    const expected = template?.leaves.get(path);
    if (expected === undefined) throw wrong(path, 'there is no such part');
    if (shape.join() !== expected.shape.join() || data.length !== expected.data.length) {
      throw wrong(path, `expected shape [${expected.shape.join()}], found [${shape.join()}]`);
    }
    if (!data.every(Number.isFinite)) throw wrong(path, 'holds what is no number');
  }
}
