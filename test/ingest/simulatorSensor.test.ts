import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import {
  createSensor,
  defaultSensorModel,
  type SensorModel,
  stepSensor,
} from '../../ingest/simulator/sensor.js';

const ideal: SensorModel = {
  onThreshold: 0.2,
  offThreshold: 0.25,
  thresholdMismatch: 0,
  refractoryUs: 0,
  shotNoiseHz: 0,
  leakHz: 0,
  bandwidthHz: 0,
};

/** The luminance whose log, with the sensor's dark current, is `level`. */
const withLog = (level: number): number => Math.exp(level) - 0.01;

/** Runs frames that are `everyUs` apart; the first one makes no events. */
function run(
  model: SensorModel,
  size: { width: number; height: number },
  frames: readonly Float32Array[],
  everyUs: number,
  seed = 1,
): EventBatch {
  let state = createSensor(size, model, frames[0], 0, seed, 'test');
  const batches: EventBatch[] = [];
  for (let k = 1; k < frames.length; k++) {
    const step = stepSensor(state, frames[k], k * everyUs);
    state = step.state;
    batches.push(step.events);
  }
  return concatBatches(batches, size);
}

const onePixel = { width: 1, height: 1 };
const constant = (pixels: number, value: number): Float32Array =>
  new Float32Array(pixels).fill(value);

describe('simulated sensor', () => {
  it('spaces the events of a steady change evenly, one per threshold', () => {
    for (const [rise, threshold, polarity] of [
      [1.8, ideal.onThreshold, 1],
      [-1.8, ideal.offThreshold, 0],
    ]) {
      const frames = [withLog(-2), withLog(-2 + rise)].map((value) => constant(1, value));
      const events = run(ideal, onePixel, frames, 100_000);
      const expected = Math.abs(rise) / threshold;
      expect(events.length).toBeGreaterThanOrEqual(Math.floor(expected) - 1);
      expect(events.length).toBeLessThanOrEqual(Math.ceil(expected) + 2);
      expect([...events.polarity].every((value) => value === polarity)).toBe(true);
      for (let i = 1; i < events.length; i++) {
        expect(Math.abs(events.tUs[i] - events.tUs[i - 1] - 1e5 / expected)).toBeLessThan(3);
      }
    }
  });

  it('gives the same events for one long step and for many short ones', () => {
    const level = (share: number): Float32Array => constant(1, withLog(-3 + 2.5 * share));
    const whole = run(ideal, onePixel, [level(0), level(1)], 40_000);
    const frames = Array.from({ length: 41 }, (_, k) => level(k / 40));
    const stepped = run(ideal, onePixel, frames, 1000);
    expect(stepped.length).toBe(whole.length);
    expect(whole.length).toBeGreaterThan(10);
    for (let i = 0; i < whole.length; i++) {
      expect(Math.abs(stepped.tUs[i] - whole.tUs[i])).toBeLessThanOrEqual(3);
    }
  });

  it('is silent in constant light without noise', () => {
    const frames = Array.from({ length: 20 }, () => constant(64, 0.4));
    expect(run(ideal, { width: 8, height: 8 }, frames, 5000).length).toBe(0);
  });

  it('keeps order, the refractory time and the sensor bounds in any light', () => {
    const size = { width: 4, height: 3 };
    const frame = fc.array(fc.float({ min: 0, max: 1, noNaN: true }), {
      minLength: 12,
      maxLength: 12,
    });
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 2, maxLength: 8 }),
        fc.integer({ min: 1, max: 20_000 }),
        fc.integer({ min: 0, max: 5000 }),
        fc.constantFrom(0, 30, 300),
        (values, everyUs, refractoryUs, bandwidthHz) => {
          const model = { ...defaultSensorModel, shotNoiseHz: 50, refractoryUs, bandwidthHz };
          const frames = values.map((value) => Float32Array.from(value));
          const events = run(model, size, frames, everyUs);
          const last = new Map<number, number>();
          for (let i = 0; i < events.length; i++) {
            const pixel = events.y[i] * size.width + events.x[i];
            expect(events.x[i]).toBeLessThan(size.width);
            expect(events.y[i]).toBeLessThan(size.height);
            expect(Number.isInteger(events.tUs[i])).toBe(true);
            if (i > 0) expect(events.tUs[i]).toBeGreaterThanOrEqual(events.tUs[i - 1]);
            const gap = events.tUs[i] - (last.get(pixel) ?? -Infinity);
            expect(gap).toBeGreaterThanOrEqual(refractoryUs);
            last.set(pixel, events.tUs[i]);
          }
          if (events.length > 0) {
            expect(events.tUs[0]).toBeGreaterThanOrEqual(0);
            expect(events.tUs[events.length - 1]).toBeLessThanOrEqual(
              everyUs * (frames.length - 1),
            );
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('makes shot noise of both polarities at the stated rate', () => {
    const size = { width: 32, height: 32 };
    const frames = Array.from({ length: 101 }, () => constant(1024, 0.4));
    const events = run({ ...ideal, shotNoiseHz: 10 }, size, frames, 10_000);
    const expected = 10 * 1024; // in one second
    expect(Math.abs(events.length - expected)).toBeLessThan(6 * Math.sqrt(expected));
    const on = events.polarity.reduce((sum, value) => sum + value, 0) / events.length;
    expect(Math.abs(on - 0.5)).toBeLessThan(0.05);
  });

  it('leaks ON events at the stated rate', () => {
    const size = { width: 32, height: 32 };
    const frames = Array.from({ length: 201 }, () => constant(1024, 0.4));
    const events = run({ ...ideal, leakHz: 2 }, size, frames, 10_000);
    const expected = 2 * 2 * 1024; // in two seconds
    expect(Math.abs(events.length - expected)).toBeLessThan(0.25 * expected);
    expect([...events.polarity].every((value) => value === 1)).toBe(true);
  });

  it('sees a sudden change later through a low-pass, but as large', () => {
    const frames = [0.1, ...Array.from({ length: 200 }, () => 0.9)].map((v) => constant(1, v));
    const sharp = run(ideal, onePixel, frames, 1000);
    const slow = run({ ...ideal, bandwidthHz: 20 }, onePixel, frames, 1000);
    expect(Math.abs(slow.length - sharp.length)).toBeLessThanOrEqual(1);
    expect(slow.tUs[slow.length - 1]).toBeGreaterThan(10_000);
    expect(sharp.tUs[sharp.length - 1]).toBeLessThanOrEqual(1000);
  });

  it('has thresholds that belong to the camera, not to the recording', () => {
    const size = { width: 16, height: 16 };
    const light = constant(256, 0.3);
    const first = createSensor(size, defaultSensorModel, light, 0, 5, 'a');
    const second = createSensor(size, defaultSensorModel, light, 0, 5, 'b');
    const other = createSensor(size, defaultSensorModel, light, 0, 6, 'a');
    expect(second.onThresholds).toEqual(first.onThresholds);
    expect(second.difference).not.toEqual(first.difference);
    expect(other.onThresholds).not.toEqual(first.onThresholds);
    const mean = first.onThresholds.reduce((sum, value) => sum + value, 0) / 256;
    const spread = Math.sqrt(
      first.onThresholds.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 256,
    );
    expect(Math.abs(mean - 0.2)).toBeLessThan(0.01);
    expect(Math.abs(spread - 0.03)).toBeLessThan(0.008);
  });
});
