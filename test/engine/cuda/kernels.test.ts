import { readdirSync, readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import type { Device } from '../../../engine/cuda/device.js';
import { deviceKernels } from '../../../engine/cuda/kernels.js';
import { optimise } from '../../../engine/cuda/launches/optimise.js';
import type { MatrixProducts } from '../../../engine/cuda/matMul.js';
import type { DeviceArray } from '../../../engine/cuda/memory.js';
import { ops } from '../../../engine/native/ops/index.js';
import type { Kernels } from '../../../engine/native/addon.js';

const folder = 'engine/cuda/source';
const sources = new Map(
  readdirSync(folder)
    .filter((file) => file.endsWith('.cu'))
    .map((file) => [file.slice(0, -3), readFileSync(`${folder}/${file}`, 'utf8')]),
);

/** Kernels of a device that only says which functions it is asked for. */
function recorded() {
  const asked: { file: string; name: string; types: string; given: number }[] = [];
  const backend = {
    driver: {
      multiprocessors: 4,
      copy: () => undefined,
      allowShared(_: object, bytes: number) {
        if (!(bytes > 0 && bytes <= 232_448))
          throw new RangeError(`${bytes} bytes of shared memory`);
      },
    },
    scratch: (length: number, use: (values: object) => unknown) => use(array(length)),
  };
  const launch = (kernel: (typeof asked)[number], ...rest: unknown[]): void => {
    const values = rest.find(
      (value, i) => Array.isArray(value) && (rest.length === 1 || i === 2),
    ) as unknown[];
    kernel.given = values.length;
  };
  const device = {
    backend,
    kernel(file: string, name: string, types: string) {
      const kernel = { file, name, types, given: 0 };
      asked.push(kernel);
      return kernel;
    },
    launch,
    walk: (kernel: (typeof asked)[number], _: number, values: unknown[]) => launch(kernel, values),
    blocksFor: () => 1,
  };
  const kernels = deviceKernels(device as unknown as Device, {} as MatrixProducts);
  return { kernels, asked, device: device as unknown as Device };
}

const array = (length: number): object => ({
  length,
  pointer: 4096,
  byteLength: 4 * length,
  clear: () => undefined,
});

describe('kernels of the device', () => {
  it('have all that the fused ops of the native backend call, but for loops over events', () => {
    const wanted = new Set<string>();
    ops(
      new Proxy({}, { get: (_, name) => (wanted.add(String(name)), () => undefined) }) as Kernels,
    );
    const { kernels } = recorded();
    const missing = [...wanted].filter((name) => !(name in kernels));
    // And what runs over many tensors at once (`launches/optimise.ts`).
    expect(missing.sort()).toEqual(['adamw', 'spikeConv2d', 'sumOfSquares']);
  });

  it.each([
    ['siluGateBackward', [1, 2, 3, 4, 5].map(() => array(64))],
    ['batchNormForward', [...[64, 8, 8, 64, 8, 8].map(array), 8, 8, 1e-5]],
    ['layerNormBackward', [...[64, 8, 64, 64, 8, 8].map(array), 8, 8, 1e-5]],
    [
      'causalConv1dBackward',
      [...[64, 16, 16, 64, 16, 64, 16, 8, 16].map(array), 2, 4, 8, 3, false],
    ],
    ['depthwiseSameBackward', [...[64, 72, 64, 64, 72, 8].map(array), 1, 2, 4, 8, 3]],
    ['gather', [array(64), array(4), array(32), 1, 1, 8, 8]],
    ['cumulativeSum', [array(64), array(64), 2, 8, 4, false, true]],
    ['cumulativeSum', [array(64), array(64), 1, 64, 1, true, false]],
    ['crossEntropyBackward', [...[64, 64, 8, 64, 64].map(array), 8, 8]],
  ] as const)(
    '%s launches functions that exist, with as many arguments as they take',
    (name, values) => {
      const { kernels, asked } = recorded();
      (kernels[name] as unknown as (...values: unknown[]) => void)(...values);
      expect(asked.length).toBeGreaterThan(0);
      for (const { file, name: kernel, types, given } of asked) {
        expect(given, `${file}/${kernel}`).toBe(types.length);
        const [, parameters] =
          new RegExp(`KERNEL(?: __launch_bounds__\\([^)]*\\))?\\s+${kernel}\\(([^)]*)\\)`).exec(
            sources.get(file)!,
          ) ?? [];
        if (parameters === undefined) continue; // Made by a macro.
        expect(parameters.split(',').length, `${file}/${kernel}`).toBe(types.length);
      }
    },
  );

  it('scan any number of states in the shared memory that a block may have', () => {
    const { kernels, asked } = recorded();
    const run = (name: string, ...values: unknown[]): void =>
      (kernels[name] as unknown as (...all: unknown[]) => void)(...values);
    for (let states = 1; states <= 160; states++) {
      for (const channels of [3, 4096]) {
        for (const gate of [0, 8]) {
          const inputs = [...Array.from({ length: 8 }, () => array(8)), array(gate)];
          const sizes = [2, 100, channels, states, false];
          run('scanForward', ...inputs, array(8), array(8), ...sizes);
          const gradients = Array.from({ length: 11 }, () => array(8));
          run('scanBackward', ...inputs, ...gradients, ...sizes, array(0));
        }
      }
    }
    for (const { name, types, given } of asked.filter(({ file }) => file === 'scan')) {
      expect(given, name).toBe(types.length);
    }
    expect(new Set(asked.map(({ name }) => name).filter((name) => /^scan/.test(name)))).toEqual(
      new Set(['scanForward', 'scanReturn', 'scanCarry', 'scanBackward']),
    );
  });

  it('update many tensors in groups that fit the arguments of a launch', () => {
    const { device, asked } = recorded();
    const { euclideanNorms, adamwAll, runningAverages } = optimise(device);
    const tensors = Array.from({ length: 81 }, (_, i) => array(1 + 100 * i) as DeviceArray);
    const control = [3, 1, 82].map(array) as DeviceArray[];
    euclideanNorms(control[2], tensors);
    const config = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, gradientClip: 1 };
    const weightDecays = new Float32Array(81);
    adamwAll(
      control,
      { ...config, weightDecays, rates: weightDecays },
      tensors.flatMap((x) => [x, x, x, x]),
    );
    runningAverages(
      control,
      tensors.flatMap((x) => [x, x]),
    );
    const structure = /struct Tensors {([^}]*)}/.exec(sources.get('optimise')!)![1];
    const fields = structure.match(/;/g)!.length;
    for (const { name, types, given } of asked) {
      expect(given, name).toBe(types.length);
      const [, parameters] = new RegExp(`KERNEL ${name}\\(([^)]*)\\)`).exec(
        sources.get('optimise')!,
      )!;
      const own = types.replace(/^p{320}i{160}f{160}ii/, '');
      expect(parameters.split(',').length - (own === types ? 0 : 1), name).toBe(own.length);
      const bytes = [...types].reduce((sum, type) => sum + (type === 'p' ? 8 : 4), 0);
      expect(bytes, name).toBeLessThanOrEqual(4096);
    }
    expect(fields).toBe(6);
  });
});
