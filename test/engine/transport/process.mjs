// A process of the tests: does what its standard input says, line by line, and answers with a line of JSON each.
import process from 'node:process';
import { createInterface } from 'node:readline';

import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';

const [folder, rank, world, port, patience = '20000'] = process.argv.slice(2);
const { TcpTransport } = await import(`${folder}/engine/transport/tcpTransport.js`);

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const failed = ({ kind, message }) => say({ kind, message });

let transport;
try {
  transport = await TcpTransport.open({
    rank: Number(rank),
    world: Number(world),
    host: '127.0.0.1',
    port: Number(port),
    connectTimeoutMs: Number(patience),
  });
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
    else {
      await transport.close();
      say('closed');
    }
  } catch (error) {
    failed(error);
  }
}
