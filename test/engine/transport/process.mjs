// A process of the tests: does what its standard input says, line by line, and answers with a line of JSON each.
import process from 'node:process';
import { createInterface } from 'node:readline';

import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';

const [folder, options] = process.argv.slice(2);
const { TcpTransport } = await import(`${folder}/engine/transport/tcpTransport.js`);
await import(`${folder}/engine/gradients.js`);
const { createModel, modelSchema } = await import(`${folder}/models/networks/index.js`);
const { flatten, Initialiser } = await import(`${folder}/models/parameters.js`);
const { startTraining, trainingStep } = await import(`${folder}/models/training/step.js`);
const { synchronisedBatchNorm } = await import(`${folder}/engine/ops/synchronisedBatchNorm.js`);

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const failed = ({ kind, message }) => say({ kind, message });

/** What `synchronisedBatchNorm` gives, and the gradients of Σ y · dy; values of x and dy `[rows, features]` as nested lists. */
function batchNorm({ x, scale, shift, dy }) {
  const tensors = [tf.tensor2d(x), tf.tensor1d(scale), tf.tensor1d(shift)];
  let forward;
  const loss = (...inputs) => {
    forward = synchronisedBatchNorm(...inputs, transport);
    for (const tensor of Object.values(forward)) tf.keep(tensor);
    return tf.sum(tf.mul(forward.y, tf.tensor2d(dy)));
  };
  const [dx, dScale, dShift] = tf.grads(loss)(tensors);
  const results = { ...forward, dx, dScale, dShift };
  const answer = Object.fromEntries(
    Object.entries(results).map(([name, tensor]) => [name, [...tensor.dataSync()]]),
  );
  tf.dispose([...tensors, results]);
  // Whatever is made in a tidy or a gradient is gone; nothing else may be left.
  return { ...answer, tensors: tf.memory().numTensors };
}

/** What one training step finds on this process's part of a batch. */
function step({ config, input, classes, x, targets, settings }) {
  const model = createModel(modelSchema.parse(config), input, classes);
  const start = startTraining(flatten(model.initialise(new Initialiser(2))));
  const clips = tf.tensor(x, [x.length, input.bins, input.channels, input.height, input.width]);
  const result = trainingStep(model, start, clips, tf.tensor2d(targets), settings, transport);
  const { state, loss, gradientNorm } = result;
  const valuesOf = (map) =>
    Object.fromEntries([...map].map(([path, x]) => [path, [...x.dataSync()]]));
  return {
    loss,
    gradientNorm,
    moments: valuesOf(state.optimiser.m),
    leaves: valuesOf(state.leaves),
  };
}

let transport;
try {
  transport = await TcpTransport.open(JSON.parse(options));
  say('connected');
} catch (error) {
  failed(error);
  process.exit(1);
}
for await (const line of createInterface({ input: process.stdin })) {
  const { call, value, operation } = JSON.parse(line);
  const tensors = () => value.map((values) => tf.tensor1d(values, 'float32'));
  const plain = (results) => results.map((tensor) => [...tensor.dataSync()]);
  try {
    if (call === 'reduce') say(plain(transport.reduce(tensors(), operation).finish()));
    else if (call === 'twice') {
      // Two at once: what is asked first comes first.
      const [a, b] = [0, 1].map((i) => transport.reduce([tensors()[i]], operation));
      say(plain([...a.finish(), ...b.finish()]));
    } else if (call === 'broadcast') say(plain(transport.broadcast(tensors())));
    else if (call === 'text') say(transport.shareText(value));
    else if (call === 'any') say(transport.any(value));
    else if (call === 'batchNorm') say(batchNorm(value));
    else if (call === 'step') say(step(value));
    else {
      await transport.close();
      say('closed');
    }
  } catch (error) {
    failed(error);
  }
}
