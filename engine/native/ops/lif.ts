import type { Attributes, FloatArray, HostKernel } from '../../fused.js';
import {
  adaptiveLifDefinition,
  lifDefinition,
  parametricLifDefinition,
  sequenceExtents,
  type AdaptiveLifConfig,
  type LifConfig,
} from '../../ops/lif.js';
import type { Addon } from '../addon.js';
import { native, none, type NativeOps } from './native.js';

const surrogates = ['atan', 'sigmoid', 'triangle', 'rectangle'];

function settingsOf(config: LifConfig & Partial<AdaptiveLifConfig>): Float64Array {
  return Float64Array.of(
    config.tau,
    config.threshold,
    config.reset === 'hard' ? 1 : 0,
    config.decayInput ? 1 : 0,
    config.detachReset ? 1 : 0,
    surrogates.indexOf(config.surrogate),
    config.surrogateWidth,
    config.adaptationStrength ?? 0,
    config.adaptationDecay ?? 0,
  );
}

/** The relaxed form, which only gradient checks use, keeps its loops. */
function unlessRelaxed<A extends LifConfig>(
  loop: HostKernel<A>,
  run: HostKernel<A>['run'],
): HostKernel<Attributes> {
  return native(loop, (inputs, outputs, shapes, config) => {
    if (config.relaxed) {
      for (const output of outputs) output.fill(0);
      loop.run(inputs, outputs, shapes, config);
    } else {
      run(inputs, outputs, shapes, config);
    }
  });
}

export function lif({ lifForward, lifBackward }: Addon['kernels']): NativeOps {
  /** Fills the places of what a variant has not; a third input is tau or the adaptation. */
  const extras = (parametric: boolean, extra: FloatArray = none): [FloatArray, FloatArray] =>
    parametric ? [extra, none] : [none, extra];
  const variant = (
    name: string,
    definition: typeof lifDefinition,
    parametric: boolean,
    adaptive: boolean,
  ): NativeOps => {
    const inputCount = 2 + Number(parametric) + Number(adaptive);
    return {
      [name]: unlessRelaxed(definition.forward, ([x, v, extra], [s, last, a], [shape], config) => {
        lifForward(
          x,
          v,
          ...extras(parametric, extra),
          s,
          last,
          a ?? none,
          ...sequenceExtents(shape),
          settingsOf(config),
        );
      }),
      [`${name}Grad`]: unlessRelaxed(definition.backward!, (inputs, outputs, [shape], config) => {
        const [x, v, extra] = inputs.slice(0, inputCount);
        const [dS, dLast, dA] = inputs.slice(inputCount);
        const [dX, dV, dExtra] = outputs;
        lifBackward(
          x,
          v,
          ...extras(parametric, extra),
          dS,
          dLast,
          dA ?? none,
          dX,
          dV,
          ...extras(parametric, dExtra),
          ...sequenceExtents(shape),
          settingsOf(config),
        );
      }),
    };
  };
  return {
    ...variant('Lif', lifDefinition, false, false),
    ...variant('ParametricLif', parametricLifDefinition, true, false),
    ...variant('AdaptiveLif', adaptiveLifDefinition, false, true),
  };
}
