import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceFunction } from '../driver.js';
import type { DeviceArray } from '../memory.js';
import { reduce } from './reduce.js';

const neuronTypes = 'ffffff';

/** `source/lif.cu`. */
export function lif(device: Device): Kernels {
  const { backend } = device;
  /** What the file `lif.cu` is compiled for; registers hold up to 32 steps. */
  const lifDefinitions = (
    settings: Float64Array,
    variant: { tau: DeviceArray; adaptation: DeviceArray },
    [width, steps]: readonly [number, number],
  ): Readonly<Record<string, number>> => {
    const [, , hard, decayInput, detachReset, surrogate] = settings;
    return {
      ...{ HARD: hard, DECAY_INPUT: decayInput, DETACH_RESET: detachReset, SURROGATE: surrogate },
      PARAMETRIC: variant.tau.length > 0 ? 1 : 0,
      ADAPTIVE: variant.adaptation.length > 0 ? 1 : 0,
      WIDTH: width,
      STEPS: steps <= 32 ? steps : 0,
    };
  };
  /** A thread for each, all at once: they run through few steps, with much memory on its way for each of them. */
  const each = (
    kernel: DeviceFunction,
    count: number,
    values: readonly (DeviceArray | number)[],
  ): void => {
    if (count > 0) device.launch(kernel, [Math.ceil(count / 128)], [128], values);
  };
  function lifForward(
    x: DeviceArray,
    initial: DeviceArray,
    tau: DeviceArray,
    adaptation: DeviceArray,
    spikes: DeviceArray,
    last: DeviceArray,
    lastAdaptation: DeviceArray,
    ...[batch, steps, features, settings]: [number, number, number, Float64Array]
  ): void {
    const width = features % 4 === 0 ? 4 : 1;
    // Registers hold one step only: the number of steps need not be known.
    const definitions = lifDefinitions(settings, { tau, adaptation }, [width, 0]);
    const kernel = device.kernel('lif', 'lifForward', `pppppppiiii${neuronTypes}`, definitions);
    each(kernel, (batch * features) / width, [
      ...[x, initial, tau, adaptation, spikes, last, lastAdaptation],
      ...[batch, steps, features, tau.length, ...neuronOf(settings)],
    ]);
  }
  function lifBackward(
    x: DeviceArray,
    initial: DeviceArray,
    tau: DeviceArray,
    adaptation: DeviceArray,
    dSpikes: DeviceArray,
    dLast: DeviceArray,
    dLastAdaptation: DeviceArray,
    dX: DeviceArray,
    dInitial: DeviceArray,
    dTau: DeviceArray,
    dAdaptation: DeviceArray,
    ...[batch, steps, features, settings]: [number, number, number, Float64Array]
  ): void {
    const neuron = neuronOf(settings);
    if (adaptation.length > 0) {
      const definitions = lifDefinitions(settings, { tau, adaptation }, [1, 0]);
      const types = `${'p'.repeat(10)}iii${neuronTypes}`;
      const kernel = device.kernel('lif', 'adaptiveLifBackward', types, definitions);
      backend.scratch(batch * steps * features, (adapted) => {
        device.walk(kernel, batch * features, [
          ...[x, initial, adaptation, dSpikes, dLast, dLastAdaptation],
          ...[dX, dInitial, dAdaptation, adapted, batch, steps, features, ...neuron],
        ]);
      });
      return;
    }
    const width = [4, 2].find((lanes) => features % lanes === 0 && lanes * steps <= 32) ?? 1;
    const definitions = lifDefinitions(settings, { tau, adaptation }, [width, steps]);
    const kernel = device.kernel('lif', 'lifBackward', `ppppppppiiii${neuronTypes}`, definitions);
    const parametric = tau.length > 0;
    backend.scratch(parametric ? batch * features : 0, (rates) => {
      each(kernel, (batch * features) / width, [
        ...[x, initial, tau, dSpikes, dLast, dX, dInitial, rates],
        ...[batch, steps, features, tau.length, ...neuron],
      ]);
      if (parametric) {
        const repeats = (batch * features) / tau.length;
        reduce(device, 'Sum', rates, dTau, [1, repeats, tau.length], 1);
      }
    });
  }

  return { lifForward, lifBackward } as unknown as Kernels;
}

/** Settings as the struct `Neuron` has them; engine/native/ops/lif.ts gives their order here. */
function neuronOf(settings: Float64Array): number[] {
  const [tau, threshold, , decayInput, , , width, strength, decay] = settings;
  const gain = decayInput === 1 && tau !== Infinity ? 1 / tau : 1;
  return [1 - 1 / tau, gain, threshold, width, strength, decay];
}
