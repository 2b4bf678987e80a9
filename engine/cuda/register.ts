import '@tensorflow/tfjs-backend-cpu';

import * as tf from '@tensorflow/tfjs-core';

import type { Attributes, FloatArray, HostKernel } from '../fused.js';
import type { Addon } from '../native/addon.js';
import type { KernelCall, NativeKernel } from '../native/backend.js';
import { arrangements } from '../native/kernels/arrange.js';
import { convolutions } from '../native/kernels/convolution.js';
import { elementwise } from '../native/kernels/elementwise.js';
import { matrixProducts } from '../native/kernels/matMul.js';
import { reductions } from '../native/kernels/reduce.js';
import { ops } from '../native/ops/index.js';
import { CudaBackend } from './backend.js';
import { Compiler } from './compiler.js';
import { Device } from './device.js';
import { deviceOps } from './deviceOps.js';
import { Driver } from './driver.js';
import { deviceKernels } from './kernels.js';
import { optimise } from './launches/optimise.js';
import { MatrixProducts, wantedPrecision } from './matMul.js';
import { ownKernels } from './ownKernels.js';

/** What the backend runs on, for `doctor` and for reports. */
export interface Cuda {
  readonly backend: CudaBackend;
  readonly device: Device;
  readonly products: MatrixProducts;
}

/** What is opened of CUDA; tests put others in their place. */
export interface Hardware {
  readonly driver: Driver;
  readonly products: MatrixProducts;
  readonly compiler: Compiler;
}

function openHardware(): Hardware {
  const driver = Driver.open();
  const products = new MatrixProducts(driver, wantedPrecision());
  return { driver, products, compiler: new Compiler(driver.architecture) };
}

let registered: Cuda | undefined;

/** Ops whose loops stay on the host: additions chosen by spikes, which only processors gain by. */
const hostOps = new Set(['SpikeConv2d']);

/**
 * Registers the backend `cuda` with TensorFlow.js: kernels on the device, and those of `cpu` on copies in
 * host memory for all others.
 *
 * @throws Error with the reason, where there is no device or a library is missing.
 */
export function registerCudaBackend(open: () => Hardware = openHardware): Cuda {
  if (registered !== undefined) return registered;
  const { driver, products, compiler } = open();
  const backend = new CudaBackend(driver);
  const device = new Device(backend, compiler);
  const kernels = deviceKernels(device, products);
  tf.registerBackend('cuda', () => backend, 4);

  const runs = new Map<string, (call: KernelCall) => ReturnType<NativeKernel['run']>>();
  const addon = { kernels } as Addon;
  const shared = [elementwise, reductions, arrangements, matrixProducts, convolutions].flatMap(
    (family) => family(addon),
  );
  for (const { name, run } of shared) runs.set(name, run);
  for (const [name, kernel] of Object.entries({ ...ops(kernels), ...deviceOps(kernels) })) {
    if (!hostOps.has(name)) runs.set(name, (call) => runOp(kernel, call));
  }
  const own = ownKernels(kernels, optimise(device), backend, new Map(runs));
  for (const { name, run } of own) runs.set(name, run);

  for (const config of tf.getKernelsForBackend('cpu')) {
    const { kernelName } = config;
    const run = runs.get(kernelName);
    tf.registerKernel({
      ...config,
      backendName: 'cuda',
      kernelFunc: (call) => {
        const outer = backend.running;
        backend.running = kernelName;
        try {
          const { timings } = backend;
          const compute = () =>
            run?.(call as unknown as KernelCall) ??
            backend.fallback(kernelName, config.kernelFunc, call);
          return timings === undefined ? compute() : backend.timed(kernelName, compute, timings);
        } finally {
          backend.running = outer;
        }
      },
    });
  }
  registered = { backend, device, products };
  return registered;
}

/** A fused op's kernel on device arrays: it passes them on to the kernels of the device. */
function runOp(
  kernel: HostKernel<Attributes>,
  { inputs, attrs, backend }: KernelCall,
): tf.TensorInfo[] | undefined {
  // The relaxed form, which only gradient checks use, has no kernel here.
  if (attrs.relaxed === true) return undefined;
  const attributes = attrs as Attributes;
  const infos = Object.values(inputs);
  const shapes = infos.map(({ shape }) => shape);
  const outputs = kernel.outputShapes(shapes, attributes).map((shape) => backend.output(shape));
  const arrays = (list: unknown[]): FloatArray[] => list as FloatArray[];
  kernel.run(
    arrays(infos.map((info) => backend.floats(info))),
    arrays(outputs.map(({ values }) => values)),
    shapes,
    attributes,
  );
  return outputs;
}
