import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { defaultLif, lif } from '../../engine/ops/lif.js';
import { linear } from '../../engine/ops/linear.js';
import {
  countedOperations,
  crossoverRate,
  crossovers,
  energyOf,
  horowitz45,
  type LayerOperations,
  onChip,
} from '../../models/analysis/energy.js';
import { countOperations } from '../../models/analysis/operationCount.js';
import { bestBackend } from '../engine/backends.js';

const nothing: LayerOperations = {
  macs: 0,
  synapses: 0,
  firingRate: 0,
  weightReads: 0,
  activationReads: 0,
  activationWrites: 0,
  spikeAccesses: 0,
  stateReads: 0,
};
const amount = fc.integer({ min: 0, max: 1e9 });
const layers = fc.array(
  fc.record({
    macs: amount,
    synapses: amount,
    firingRate: fc.double({ min: 0, max: 1, noNaN: true }),
    weightReads: amount,
    activationReads: amount,
    activationWrites: amount,
    spikeAccesses: fc.constant(0),
    stateReads: amount,
  }),
  { minLength: 1, maxLength: 4 },
);

describe('energyOf', () => {
  it('gives 38.3 mJ for the 8.33 G multiply-accumulates that Transformer-8-512 is said to take', () => {
    const { computePj, memoryPj } = energyOf([{ ...nothing, macs: 8.33e9 }]);
    expect(computePj * 1e-9).toBeCloseTo(38.318, 3);
    expect(memoryPj).toBe(0);
  });

  it('is what its terms are', () => {
    const layer = {
      macs: 10,
      synapses: 100,
      firingRate: 0.25,
      weightReads: 3,
      activationReads: 5,
      activationWrites: 7,
      spikeAccesses: 4,
      stateReads: 11,
    };
    const places = { weights: 'dram', activations: 'cache1M', state: 'cache8K' } as const;
    const { computePj, memoryPj, totalPj } = energyOf([layer], horowitz45.float32, places);
    expect(computePj).toBeCloseTo(10 * 4.6 + 25 * 0.9, 10);
    expect(memoryPj).toBeCloseTo(3 * 650 + 12 * 50 + 22 * 5, 10);
    expect(totalPj).toBeCloseTo(computePj + memoryPj, 10);
    const int8 = energyOf([layer], horowitz45.int8, places);
    expect(int8.memoryPj).toBeCloseTo(memoryPj / 4, 10);
    expect(int8.computePj).toBeCloseTo(10 * 0.23 + 25 * 0.03, 10);
    // Of spikes in one bit, 4 accesses take a 32nd.
    const bits = energyOf([layer], { ...horowitz45.float32, spikeBits: 1 }, places);
    expect(bits.memoryPj).toBeCloseTo(3 * 650 + (8 + 4 / 32) * 50 + 22 * 5, 10);
  });

  it('grows with the firing rate, and is the sum of its layers', () => {
    fc.assert(
      fc.property(layers, (network) => {
        const all = energyOf(network).totalPj;
        const sum = network.reduce((total, layer) => total + energyOf([layer]).totalPj, 0);
        expect(Math.abs(all - sum)).toBeLessThanOrEqual(1e-9 * all);
        const busier = network.map((layer) => ({
          ...layer,
          firingRate: (1 + layer.firingRate) / 2,
        }));
        expect(energyOf(busier).totalPj).toBeGreaterThanOrEqual(all);
      }),
    );
  });
});

describe('crossoverRate', () => {
  it('is where spikes over four steps take what one int8 pass takes', () => {
    const synapses = 1e6;
    const spiking = [{ ...nothing, synapses: 4 * synapses }];
    const dense = energyOf([{ ...nothing, macs: synapses }], horowitz45.int8).totalPj;
    const rate = crossoverRate(spiking, dense, horowitz45.int8);
    expect(rate).toBeCloseTo(0.23 / 4 / 0.03, 10);
    const float = crossoverRate(spiking, dense);
    expect(float).toBeCloseTo(0.23 / 4 / 0.9, 10);
    const at = energyOf(spiking.map((layer) => ({ ...layer, firingRate: float! }))).totalPj;
    expect(at).toBeCloseTo(dense, 3);
  });

  it('is below 0 where memory alone takes more', () => {
    const spiking = [{ ...nothing, synapses: 10, stateReads: 1e6 }];
    expect(crossoverRate(spiking, 100, horowitz45.float32, onChip)).toBeLessThan(0);
  });
});

describe('crossovers', () => {
  const layer = { ...nothing, macs: 100, synapses: 1000, weightReads: 20, stateReads: 6 };
  const spiking = { ...layer, activationReads: 30, activationWrites: 10, spikeAccesses: 16 };

  it('are those worked by hand', () => {
    const [float, int8, mixed] = crossovers(spiking, 4);
    // Memory: weights, values, spikes of one bit and the state twice, against values in their place and 2 values of state.
    const [own, other] = [20 + 24 + 16 / 32 + 12, 20 + 40 + 4];
    expect(float.otherPj).toBeCloseTo(1100 * 4.6 + other * 50, 8);
    expect(float.rate).toBeCloseTo((1000 * 4.6 + (other - own) * 50) / 900, 10);
    expect(float.computeRate).toBeCloseTo(4.6 / 0.9, 10);
    const ownInt8 = 20 + 24 + 16 / 8 + 12;
    expect(int8.otherPj).toBeCloseTo(1100 * 0.23 + other * 12.5, 8);
    expect(int8.rate).toBeCloseTo((1000 * 0.23 + (other - ownInt8) * 12.5) / 30, 10);
    expect(int8.computeRate).toBeCloseTo(0.23 / 0.03, 10);
    expect(mixed).toMatchObject({ bits: 32, otherBits: 8 });
    expect(mixed.computeRate).toBeCloseTo((1100 * 0.23 - 100 * 4.6) / 900, 10);
    expect(mixed.rate).toBeLessThan(0);
  });

  it('tell which of both takes less, at any firing rate', () => {
    fc.assert(
      fc.property(
        amount,
        fc.integer({ min: 1, max: 1e6 }),
        amount,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (macs, synapses, stateReads, firingRate) => {
          const some = { ...spiking, macs, synapses, stateReads, firingRate };
          for (const { bits, rate, otherPj } of crossovers(some, stateReads / 2)) {
            const own = { ...horowitz45[bits === 8 ? 'int8' : 'float32'], spikeBits: 1 };
            const { totalPj } = energyOf([some], own);
            const difference = (firingRate - rate!) * synapses * own.acPj;
            expect(Math.abs(totalPj - otherPj - difference)).toBeLessThan(
              1e-9 * (totalPj + otherPj),
            );
          }
        },
      ),
    );
  });

  it('are none where nothing is multiplied by a spike', () => {
    for (const { rate, computeRate } of crossovers({ ...spiking, synapses: 0 }, 0)) {
      expect([rate, computeRate]).toEqual([null, null]);
    }
  });
});

describe('countedOperations', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it('of a tiny network are those counted one by one', () => {
    const [time, inputs, hidden, outputs] = [5, 4, 6, 3];
    const values = Array.from({ length: time * inputs }, (_, i) => ((i * 7) % 11) / 5);
    const [first, second] = [
      tf.tensor2d(Array.from({ length: inputs * hidden }, (_, i) => (((i * 5) % 7) - 2) / 3), [inputs, hidden]), // prettier-ignore
      tf.tensor2d(
        Array.from({ length: hidden * outputs }, (_, i) => i / 9),
        [hidden, outputs],
      ),
    ];
    let fired: number[] = [];
    const { count } = countOperations(
      () =>
        tf.tidy(() => {
          const current = linear(tf.tensor3d(values, [1, time, inputs]), first);
          const { spikes } = lif(current, tf.zeros([1, hidden]), defaultLif);
          fired = Array.from(spikes.dataSync());
          return linear(spikes, second).dataSync();
        }),
      [first, second],
    );
    // Every product of a real number, and every sum that a spike makes.
    let [macs, sums] = [0, 0];
    for (let t = 0; t < time; t++) {
      for (let i = 0; i < inputs; i++) for (let j = 0; j < hidden; j++) macs++;
      for (let j = 0; j < hidden; j++) {
        for (let k = 0; k < outputs; k++) if (fired[t * hidden + j] === 1) sums++;
      }
    }
    expect(sums).toBeGreaterThan(0);
    const operations = countedOperations(count);
    expect(operations.macs).toBe(macs);
    expect(operations.synapses).toBe(time * hidden * outputs);
    expect(operations.firingRate * operations.synapses).toBeCloseTo(sums, 8);
    expect(operations.weightReads).toBe(inputs * hidden + hidden * outputs);
    const { weightReads, activationReads, activationWrites } = operations;
    // Spikes are written once and read once.
    expect(operations.spikeAccesses).toBe(2 * time * hidden);
    expect(4 * (weightReads + activationReads + activationWrites)).toBe(count.trafficBytes);
    expect(energyOf([operations]).computePj).toBeCloseTo(4.6 * macs + 0.9 * sums, 6);
    tf.dispose([first, second]);
  });

  it('has no traffic twice where some of it is state', () => {
    const count = {
      macs: 0,
      synapses: 0,
      additions: 0,
      elementwise: 0,
      trafficBytes: 400,
      readBytes: 280,
      weightBytes: 80,
      spikeBytes: 40,
    };
    const { weightReads, activationReads, activationWrites, stateReads } = countedOperations(
      count,
      8,
      2,
    );
    expect([weightReads, stateReads, activationReads, activationWrites]).toEqual([20, 4, 46, 26]);
    expect(weightReads + 2 * stateReads + activationReads + activationWrites).toBe(100);
  });
});
