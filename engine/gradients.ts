/**
 * TensorFlow.js keeps the gradients of its core ops in the union package, which Node can load whole
 * only. Importing this module registers them.
 */
import '@tensorflow/tfjs';

import * as tf from '@tensorflow/tfjs-core';

// Without it, the first tensor on the `cpu` backend prints an advertisement.
tf.enableProdMode();

/** The gradient of a sum or a mean over axes, which every value gets its share of. */
function spread(kernelName: 'Sum' | 'Mean'): void {
  tf.unregisterGradient(kernelName);
  tf.registerGradient({
    kernelName,
    inputsToSave: ['x'],
    gradFunc: (dy, [x], { axis }) => {
      const shape = x.shape.slice();
      for (const d of tf.util.parseAxisParam(axis as number[], shape)) shape[d] = 1;
      const each = tf.reshape(dy as tf.Tensor, shape);
      const share = kernelName === 'Sum' ? each : tf.div(each, x.size / each.size);
      return { x: () => tf.mul(share, tf.onesLike(x)) };
    },
  });
}

// TensorFlow.js makes ones of the whole shape on the host, which a device has to be sent at every step.
spread('Sum');
spread('Mean');
