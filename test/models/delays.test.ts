import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { emptyBuffer, scatterSpikes } from '../../models/delays/delayLines.js';
import {
  delayKernel,
  delaySynapse,
  delayWidth,
  depthwiseDelay,
  initialiseDelaySynapse,
  roundDelays,
  toDelayLines,
  type DelaySynapseState,
} from '../../models/delays/delaySynapse.js';
import {
  eitherPolarity,
  emptyMotionBuffer,
  initialiseMotionDelay,
  motionDelay,
  motionDisc,
  motionSpikes,
  pruneMotions,
  scatterEvents,
  toMotionTaps,
  type MotionDelayParameters,
  type MotionDelayState,
  type MotionEvent,
} from '../../models/delays/motionDelay.js';
import { Initialiser } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});
const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

/** Spikes at a rate of 0.3. */
function randomSpikes(shape: number[], seed: number): tf.Tensor {
  const random = createRandom(seed, 'spikes');
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, () => Number(random.uniform() < 0.3)),
    shape,
  );
}

describe('synapses with delays', () => {
  const config = { inputs: 3, outputs: 2, maxDelay: 5 };
  const parameters = (): ReturnType<typeof initialiseDelaySynapse> =>
    initialiseDelaySynapse(new Initialiser(1), config);

  tidily(
    'have kernels that sum to their weights, nearly all of it in one frame once narrow',
    () => {
      const whole = roundDelays(parameters(), 5);
      const share = (width: number): number => {
        const kernel = delayKernel(whole, 5, width);
        expect(relativeDifference(tf.sum(kernel, 0), whole.weight)).toBeLessThan(1e-6);
        // At a delay in the middle, where nothing is cut off.
        const one = { weight: tf.ones([1, 1]), delay: tf.fill([1, 1], 12) };
        return tf.max(delayKernel(one, 24, width)).dataSync()[0];
      };
      expect(share(0)).toBeCloseTo(0.998, 3);
      expect(share(0.23)).toBeCloseTo(0.787, 3);
      expect(delayWidth(0, 24)).toBe(12);
      expect(delayWidth(0.25, 24)).toBeCloseTo(0.23, 9);
      expect(delayWidth(1, 24)).toBeCloseTo(0.23, 9);
      expect(delayWidth(0.125, 24)).toBeCloseTo(Math.sqrt(12 * 0.23), 9);
      for (const progress of [0, 0.1, 0.3, 1]) {
        const [width] = (delayWidth(tf.scalar(progress), 24) as tf.Tensor).dataSync();
        expect(width / delayWidth(progress, 24)).toBeCloseTo(1, 5);
      }
    },
  );

  it('whole = chunks = steps, and never longer than the input', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 }),
        (lengths) => {
          tf.tidy(() => {
            const time = lengths.reduce((a, b) => a + b);
            const x = randomSpikes([2, time, 2, 3], time);
            const whole = delaySynapse(parameters(), x, undefined, config, 0.4);
            expect(whole.output.shape).toEqual([2, time, 2, 2]);
            for (const parts of [lengths, Array.from({ length: time }, () => 1)]) {
              let state: DelaySynapseState | undefined;
              let at = 0;
              const outputs = parts.map((length) => {
                const part = tf.slice(x, [0, at], [-1, length]);
                const result = delaySynapse(parameters(), part, state, config, 0.4);
                state = result.state;
                at += length;
                return result.output;
              });
              expect(relativeDifference(tf.concat(outputs, 1), whole.output)).toBeLessThan(1e-5);
              expect(relativeDifference(state!.tail!, whole.state.tail!)).toBe(0);
            }
          });
        },
      ),
      { numRuns: 10 },
    );
  });

  tidily('are lines of whole frames once rounded: exactly what arrives, spike by spike', () => {
    const rounded = roundDelays(parameters(), 5);
    const time = 12;
    const x = randomSpikes([1, time, 1, 3], 4);
    // As a shift register.
    const [weights, delays] = [rounded.weight, rounded.delay].map(
      (y) => y.arraySync() as number[][],
    );
    const input = tf.reshape(x, [time, 3]).arraySync() as number[][];
    const lines = toDelayLines(parameters(), config);
    let buffer = emptyBuffer(lines);
    let additions = 0;
    for (let t = 0; t < time; t++) {
      const expected = [0, 1].map((output) =>
        weights.reduce(
          (sum, row, i) => sum + row[output] * (input[t - delays[i][output]]?.[i] ?? 0),
          0,
        ),
      );
      const spikes = input[t].map((s, i) => [i, s] as const).filter(([, s]) => s !== 0);
      const result = scatterSpikes(lines, spikes, buffer);
      buffer = result.buffer;
      additions += result.additions;
      expected.forEach((value, o) => expect(result.output[o]).toBeCloseTo(value, 5));
    }
    expect(additions).toBe(2 * tf.sum(x).dataSync()[0]);
    // And the convolution with the narrowest taps, but for the 0.002 that they spill.
    const dense = delaySynapse(rounded, x, undefined, config, 0).output;
    const again = delaySynapse(parameters(), x, undefined, config, 0).output;
    expect(relativeDifference(dense, again)).toBeGreaterThan(0.01);
    const last = tf.reshape(tf.slice(dense, [0, time - 1], [1, 1]), [2]).dataSync();
    const first = [0, 1].map((output) =>
      weights.reduce(
        (sum, row, i) => sum + row[output] * (input[time - 1 - delays[i][output]]?.[i] ?? 0),
        0,
      ),
    );
    first.forEach((value, o) => expect(Math.abs(last[o] - value)).toBeLessThan(0.02));
  });

  tidily('from each feature to itself are those of a diagonal matrix', () => {
    const own = { weight: tf.tensor1d([0.5, -2, 1]), delay: tf.tensor1d([0, 2.3, 5]) };
    const square = { inputs: 3, outputs: 3, maxDelay: 5 };
    const matrix = {
      weight: tf.mul(tf.eye(3), own.weight),
      delay: tf.tile(tf.expandDims(own.delay, 0), [3, 1]),
    };
    const x = randomSpikes([2, 9, 2, 3], 8);
    const full = delaySynapse(matrix, x, undefined, square, 0.3);
    const first = depthwiseDelay(own, tf.slice(x, [0, 0], [-1, 4]), undefined, 5, 0.3);
    const second = depthwiseDelay(own, tf.slice(x, [0, 4], [-1, 5]), first.state, 5, 0.3);
    const output = tf.concat([first.output, second.output], 1);
    expect(relativeDifference(output, full.output)).toBeLessThan(1e-6);
    expect(relativeDifference(second.state.tail!, full.state.tail!)).toBe(0);
    const none = depthwiseDelay(own, x, undefined, 0, 0.3).output;
    expect(relativeDifference(none, tf.mul(x, own.weight))).toBeLessThan(1e-6);
  });

  tidily('have the gradients of their delays and weights, by finite differences', () => {
    const x = randomSpikes([2, 8, 1, 3], 5);
    const target = tf.randomNormal([2, 8, 1, 2], 0, 1, 'float32', 6);
    const { weight, delay } = parameters();
    // Inside the range, whose ends have a kink.
    const start = [weight, tf.clipByValue(delay, 0.3, 4.7)];
    const loss = (w: tf.Tensor, d: tf.Tensor): tf.Scalar =>
      tf.sum(tf.mul(delaySynapse({ weight: w, delay: d }, x, undefined, config, 0.5).output, target)) as tf.Scalar; // prettier-ignore
    const gradients = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)(start);
    gradients.forEach((gradient, i) => {
      const slope = tf.norm(gradient).dataSync()[0];
      const at = (distance: number): number => {
        const moved = [...start];
        moved[i] = tf.add(start[i], tf.mul(gradient, distance / slope));
        return loss(moved[0], moved[1]).dataSync()[0];
      };
      expect(slope).toBeGreaterThan(0.1);
      expect(Math.abs((at(5e-3) - at(-5e-3)) / 1e-2 - slope)).toBeLessThan(0.01 * slope + 1e-3);
    });
  });

  tidily('learn the lag between two spikes: delays that make them meet', () => {
    // Input 0 fires 7 frames before input 1; their sum is highest where both arrive together.
    const two = { inputs: 2, outputs: 1, maxDelay: 12 };
    const weight = tf.ones([2, 1]);
    const time = 24;
    const x = tf.tidy(() => {
      const buffer = tf.buffer([1, time, 1, 2]);
      buffer.set(1, 0, 3, 0, 0);
      buffer.set(1, 0, 10, 0, 1);
      return buffer.toTensor();
    });
    let delay: tf.Tensor = tf.tensor2d([[4], [2]]);
    const steps = 120;
    for (let step = 0; step < steps; step++) {
      const width = delayWidth(step / steps, 12);
      const loss = (d: tf.Tensor): tf.Scalar => {
        const { output } = delaySynapse({ weight, delay: d }, x, undefined, two, width);
        return tf.neg(tf.sum(tf.square(output))) as tf.Scalar;
      };
      const gradient = tf.grad(loss)(delay);
      const size = tf.maximum(tf.norm(gradient), 1e-9);
      delay = tf.sub(delay, tf.mul(tf.div(gradient, size), 0.15 * (1 - step / steps)));
    }
    const [first, second] = delay.dataSync();
    expect(Math.abs(first - second - 7)).toBeLessThan(0.5);
  });
});

describe('the motion layer', () => {
  const config = { motions: 3, polarities: 2, size: 5, maxDelay: 3 };
  const draw = (): MotionDelayParameters => ({
    ...initialiseMotionDelay(new Initialiser(1), config),
    bias: tf.tensor1d([0.1, -0.2, 0.3]),
  });

  tidily('is the same event by event as a convolution of frames, and streams', () => {
    const [time, height, width] = [9, 6, 7];
    const x = randomSpikes([1, time, height, width, 2], 2);
    const whole = motionDelay(draw(), x, undefined, config);
    let state: MotionDelayState | undefined;
    const parts = [4, 1, 4].map((length, i) => {
      const result = motionDelay(
        draw(),
        tf.slice(x, [0, [0, 4, 5][i]], [-1, length]),
        state,
        config,
      );
      state = result.state;
      return result.output;
    });
    expect(relativeDifference(tf.concat(parts, 1), whole.output)).toBeLessThan(1e-6);
    expect(relativeDifference(state!.tail!, whole.state.tail!)).toBe(0);

    const taps = toMotionTaps(draw(), config);
    let buffer = emptyMotionBuffer(config, height, width);
    const frames = x.arraySync() as number[][][][][];
    const outputs: tf.Tensor[] = [];
    let [additions, events] = [0, 0];
    for (const frame of frames[0]) {
      const fired: MotionEvent[] = [];
      frame.forEach((pixels, row) =>
        pixels.forEach((values, column) =>
          values.forEach((value, polarity) => {
            if (value !== 0) fired.push({ row, column, polarity });
          }),
        ),
      );
      const result = scatterEvents(taps, fired, buffer);
      buffer = result.buffer;
      additions += result.additions;
      events += fired.length;
      outputs.push(tf.tensor(result.output, [1, 1, height, width, 3]));
    }
    expect(relativeDifference(tf.concat(outputs, 1), whole.output)).toBeLessThan(1e-6);
    // Events times fan-out, less what falls off the borders.
    const fanOut = 3 * tf.sum(motionDisc(config)).dataSync()[0];
    expect(additions).toBeLessThan(events * fanOut);
    expect(additions).toBeGreaterThan(0.5 * events * fanOut);
  });

  tidily('reaches further the longer the delay', () => {
    const reach = tf.sum(tf.reshape(motionDisc(config), [4, 25]), 1).dataSync();
    expect(Array.from(reach)).toEqual([5, expect.any(Number), expect.any(Number), 13]);
    expect(reach[1]).toBeLessThanOrEqual(reach[2]);
  });

  it('learns motions whose taps follow them, and keeps telling them apart when pruned', () => {
    const motions = [[0, 1], [0, -1], [1, 0], [-1, 0]]; // prettier-ignore
    const own = { motions: 4, polarities: 2, size: 7, maxDelay: 3 };
    const [time, side] = [6, 14];
    /** Random dots that move all the same way, polarity and all. */
    const clip = (motion: number, seed: number): tf.Tensor => {
      const random = createRandom(seed, 'dots');
      const buffer = tf.buffer([1, time, side, side, 2]);
      for (let dot = 0; dot < 25; dot++) {
        const [y, x, p] = [random.integer(side), random.integer(side), random.integer(2)];
        for (let t = 0; t < time; t++) {
          const [row, column] = [y + motions[motion][0] * t, x + motions[motion][1] * t];
          buffer.set(1, 0, t, (row + side * time) % side, (column + side * time) % side, p);
        }
      }
      return buffer.toTensor();
    };
    tf.tidy(() => {
      let { kernel, bias } = initialiseMotionDelay(new Initialiser(3), own);
      const inner = (evidence: tf.Tensor): tf.Tensor =>
        tf.slice(evidence, [0, own.maxDelay, 3, 3, 0], [-1, time - own.maxDelay, side - 6, side - 6, -1]); // prettier-ignore
      const clips = [0, 1, 2, 3].flatMap((motion) => [1, 2].map((seed) => ({ motion, x: clip(motion, seed) }))); // prettier-ignore
      const batch = tf.concat(clips.map(({ x }) => x));
      const labels = tf.reshape(tf.oneHot(tf.tensor1d(clips.map(({ motion }) => motion), 'int32'), 4), [-1, 1, 1, 1, 4]); // prettier-ignore
      // Where an event is, as the layer is asked there.
      const here = inner(tf.sum(batch, 4, true));
      const loss = (k: tf.Tensor, b: tf.Tensor): tf.Scalar => {
        const evidence = inner(motionDelay({ kernel: k, bias: b }, batch, undefined, own).output);
        const entropy = tf.sub(tf.softplus(evidence), tf.mul(labels, evidence));
        return tf.div(tf.sum(tf.mul(entropy, here)), tf.sum(here)) as tf.Scalar;
      };
      for (let step = 0; step < 40; step++) {
        const [dk, db] = tf.tidy(() => tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)([kernel, bias])); // prettier-ignore
        [kernel, bias] = [tf.sub(kernel, tf.mul(dk, 1)), tf.sub(bias, tf.mul(db, 1))];
      }
      const accuracy = (parameters: MotionDelayParameters): number => {
        let [right, asked] = [0, 0];
        [0, 1, 2, 3].forEach((motion) => {
          const x = clip(motion, 77 + motion);
          const evidence = inner(motionDelay(parameters, x, undefined, own).output);
          const best = tf.argMax(evidence, 4).dataSync();
          const events = inner(tf.sum(x, 4, true)).dataSync();
          events.forEach((count, i) => {
            if (count === 0) return;
            asked++;
            if (best[i] === motion) right++;
          });
        });
        return right / asked;
      };
      const trained = { kernel, bias };
      const before = accuracy(trained);
      expect(before).toBeGreaterThan(0.95);

      // The heaviest tap of each delay lies where the dot was: d frames back, d steps against the motion.
      const masked = tf.sum(tf.mul(kernel, motionDisc(own)), 3).arraySync() as number[][][][];
      motions.forEach(([down, right], motion) => {
        for (let delay = 1; delay <= own.maxDelay; delay++) {
          const plane = masked[delay].flatMap((row) => row.map((taps) => taps[motion]));
          const best = plane.indexOf(Math.max(...plane));
          expect([Math.floor(best / 7) - 3, (best % 7) - 3]).toEqual([down * delay, right * delay]);
        }
      });
      const pruned = pruneMotions(trained, 0.05);
      expect(tf.mean(tf.abs(tf.sign(pruned.kernel))).dataSync()[0]).toBeLessThan(0.055);
      expect(accuracy(pruned)).toBeGreaterThan(0.9 * before);

      const x = clip(0, 5);
      const either = eitherPolarity(trained, x, own);
      expect(relativeDifference(either, eitherPolarity(trained, tf.reverse(x, 4), own))).toBe(0);
      const spikes = motionSpikes(either, 0.5);
      expect(tf.max(tf.sum(spikes, -1)).dataSync()[0]).toBe(1);
    });
  });
});
