import { describe, expect, it } from 'vitest';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import {
  type GestureOptions,
  gestures,
  type SceneOptions,
  simulateGesture,
} from '../../ingest/simulator/index.js';

const small: SceneOptions = { sensor: { width: 48, height: 48 }, durationUs: 400_000 };
const simulate = (options: Partial<GestureOptions> = {}): EventBatch =>
  concatBatches([
    ...simulateGesture({ ...small, gesture: 'air_drums', subjectSeed: 1, ...options }),
  ]);

describe('simulateGesture', () => {
  it('gives the same events for the same options, and others for any other performance', () => {
    const events = simulate();
    expect(events.length).toBeGreaterThan(500);
    expect(simulate()).toEqual(events);
    for (const change of [
      { repetition: 2 },
      { subjectSeed: 2 },
      { seed: 5 },
      { gesture: 'air_guitar' },
    ]) {
      expect(simulate(change)).not.toEqual(events);
    }
  });

  it('gives a shorter recording as the start of a longer one', () => {
    const long = simulate();
    const short = simulate({ durationUs: 200_000 });
    const start = long.tUs.findIndex((tUs) => tUs > 200_000);
    expect(short.tUs).toEqual(long.tUs.slice(0, start));
    expect(short.x).toEqual(long.x.slice(0, start));
    expect(short.polarity).toEqual(long.polarity.slice(0, start));
  });

  it.each(Object.keys(gestures))('%s makes sorted events of both polarities', (gesture) => {
    let lastUs = 0;
    let events = 0;
    let on = 0;
    const options = { ...small, sensor: { width: 40, height: 32 }, gesture, subjectSeed: 3 };
    for (const batch of simulateGesture({ ...options, distractor: true })) {
      expect(batch.sensor).toEqual({ width: 40, height: 32 });
      expect(batch.tUs[batch.length - 1] - batch.tUs[0]).toBeLessThanOrEqual(50_000);
      for (let i = 0; i < batch.length; i++) {
        expect(batch.tUs[i]).toBeGreaterThanOrEqual(lastUs);
        lastUs = batch.tUs[i];
        expect(batch.x[i]).toBeLessThan(40);
        expect(batch.y[i]).toBeLessThan(32);
        on += batch.polarity[i];
      }
      events += batch.length;
    }
    expect(lastUs).toBeLessThanOrEqual(400_000);
    expect(events).toBeGreaterThan(200);
    expect(on / events).toBeGreaterThan(0.3);
    expect(on / events).toBeLessThan(0.7);
  });

  // Clockwise is as the performer sees it. In pixels, with y downwards, that turns the other way round.
  it.each([
    ['right_arm_clockwise', -1],
    ['right_arm_counter_clockwise', 1],
    ['left_arm_clockwise', -1],
    ['left_arm_counter_clockwise', 1],
  ])('%s turns that way in the picture', (gesture, sign) => {
    for (const subjectSeed of [1, 2, 3, 4]) {
      const { length, tUs, x, y } = simulate({
        gesture,
        subjectSeed,
        durationUs: 1_300_000,
        noise: { shotNoiseHz: 0, leakHz: 0 },
      });
      const bins = Array.from({ length: 33 }, () => ({ count: 0, x: 0, y: 0 }));
      for (let i = 0; i < length; i++) {
        const bin = bins[Math.floor(tUs[i] / 40_000)];
        bin.count++;
        bin.x += x[i];
        bin.y += y[i];
      }
      const path = bins.filter(({ count }) => count > 0);
      let area = 0;
      for (let k = 1; k < path.length; k++) {
        const [a, b] = [path[k - 1], path[k]];
        const centred = [
          a.x / a.count - 24,
          a.y / a.count - 24,
          b.x / b.count - 24,
          b.y / b.count - 24,
        ];
        area += centred[0] * centred[3] - centred[2] * centred[1];
      }
      expect(Math.sign(area)).toBe(sign);
    }
  });

  it.each([
    [{ gesture: 'juggling' }, /gesture: unknown gesture "juggling", known are hand_clapping/],
    [{ durationUs: -1 }, /durationUs: expected a whole number/],
    [{ sensor: { width: 0, height: 32 } }, /sensor\.width/],
    [{ noise: { onThreshold: 0 } }, /noise\.onThreshold: expected a number/],
    [{ framesPerSecond: Number.NaN }, /framesPerSecond/],
  ])('names a wrong option: %o', (change, message) => {
    expect(() => simulate(change)).toThrow(message);
  });
});
