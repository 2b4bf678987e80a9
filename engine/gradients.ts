/**
 * TensorFlow.js keeps the gradients of its core ops in the union package, which Node can load whole
 * only. Importing this module registers them.
 */
import '@tensorflow/tfjs';

import * as tf from '@tensorflow/tfjs-core';

// Without it, the first tensor on the `cpu` backend prints an advertisement.
tf.enableProdMode();
