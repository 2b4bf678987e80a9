import { randomBytes, timingSafeEqual } from 'node:crypto';
import { writeSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';

import {
  challengeBytes,
  frameHeadBytes,
  frameKinds,
  helloBytes,
  largestFrameBytes,
  type PeersAnswer,
  type PeersData,
  type PeersRequest,
  proof,
  signedHelloBytes,
} from './messages.js';

// The thread of `peers.ts`: sends what its process asks for, adds on process 0, and notices who ends.

const {
  rank,
  world,
  host,
  port,
  perNode,
  token,
  connectTimeoutMs,
  killAfterMs,
  finished,
  answers,
} = workerData as PeersData & { readonly answers: MessagePort };
const counter = new Int32Array(finished);

/** The other end of a connection. */
interface Peer {
  rank: number;
  readonly socket: Socket;
  /** What came and was not used yet. */
  readonly frames: { readonly kind: number; readonly body: Buffer }[];
  /** What it has to answer with the token. */
  readonly challenge: Buffer;
  /** What it asks for the same. */
  theirChallenge: Uint8Array;
  /** It said that it leaves. */
  left: boolean;
}

type Work = Exclude<PeersRequest, { kind: 'close' }>;

const peers: Peer[] = [];
const requests: Work[] = [];
let server: Server | undefined;
/** Connections that did not know the token. */
let refused = 0;
let connected = false;
let ended = false;
let killing: NodeJS.Timeout | undefined;

function onLate(): void {
  const missing = Array.from({ length: world }, (_, i) => i).filter(
    (i) => i !== rank && !peers.some((peer) => peer.rank === i),
  );
  const there = `${host}:${port} in ${connectTimeoutMs / 1000} s`;
  const strangers = refused === 0 ? '' : `; ${refused} came with another token`;
  fail(
    rank === 0
      ? `${nameOf(missing)} did not come to ${there}${strangers}`
      : `${nameOf([0])} did not answer at ${there}`,
  );
}
let timeout = setTimeout(onLate, connectTimeoutMs);

/** Processes, and the machines that they are on. */
function nameOf(ranks: readonly number[]): string {
  const processes = `process ${ranks.join(', ')} of ${world}`;
  if (perNode === undefined) return processes;
  const nodes = [...new Set(ranks.map((each) => Math.floor(each / perNode)))];
  return `${processes} (node ${nodes.join(', ')} of ${Math.ceil(world / perNode)})`;
}

/** Wakes this process. */
function notify(): void {
  Atomics.add(counter, 1, 1);
  Atomics.notify(counter, 1);
}

/** Ends all work: this process is told at its next look, the others at once. */
function fail(message: string): void {
  if (ended) return;
  end();
  if (rank === 0) {
    for (const { socket } of peers) send(socket, frameKinds.failed, Buffer.from(message));
  }
  answers.postMessage({ kind: 'failed', message } satisfies PeersAnswer);
  notify();
  if (killAfterMs === undefined || !connected) return;
  killing = setTimeout(() => {
    writeSync(2, `saccade: process ${rank}: ${message}\n`);
    process.kill(process.pid, 'SIGKILL');
  }, killAfterMs);
}

function end(): void {
  ended = true;
  clearTimeout(timeout);
  server?.close();
}

function send(socket: Socket, kind: number, body: Uint8Array): void {
  const frame = Buffer.alloc(frameHeadBytes + body.length);
  frame.writeUInt8(kind, 0);
  frame.writeUInt32LE(body.length, 1);
  frame.set(body, frameHeadBytes);
  socket.write(frame);
}

/** Takes messages apart. Where one is wrong, the other end is none of ours. */
function listen(socket: Socket, knownRank: number): Peer {
  const peer: Peer = {
    rank: knownRank,
    socket,
    frames: [],
    challenge: randomBytes(challengeBytes),
    theirChallenge: new Uint8Array(0),
    left: false,
  };
  let parts: Buffer[] = [];
  let length = 0;
  socket.setNoDelay(true);
  socket.on('data', (part: Buffer) => {
    parts.push(part);
    length += part.length;
    while (length >= frameHeadBytes) {
      const head = parts[0].length >= frameHeadBytes ? parts[0] : Buffer.concat(parts);
      const bytes = head.readUInt32LE(1);
      if (bytes > (peer.rank < 0 ? signedHelloBytes : largestFrameBytes)) {
        socket.destroy();
        return;
      }
      if (length < frameHeadBytes + bytes) return;
      const all = parts.length === 1 ? parts[0] : Buffer.concat(parts);
      const body = all.subarray(frameHeadBytes, frameHeadBytes + bytes);
      const left = all.subarray(frameHeadBytes + bytes);
      parts = left.length > 0 ? [left] : [];
      length = left.length;
      onFrame(peer, all.readUInt8(0), body);
    }
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    if (peer.rank < 0 || peer.left) return;
    fail(`${nameOf([peer.rank])} ended before the others`);
  });
  return peer;
}

function onFrame(peer: Peer, kind: number, body: Buffer): void {
  if (peer.rank < 0) {
    welcome(peer, kind, body);
  } else if (kind === frameKinds.challenge) {
    introduce(peer, body);
  } else if (kind === frameKinds.hello) {
    // Process 0's: all are there.
    if (isProof(body, peer.challenge, new Uint8Array(0))) ready();
    else fail(`who answers at ${host}:${port} has another token than process ${rank}`);
  } else if (kind === frameKinds.failed) {
    fail(body.toString());
  } else if (kind === frameKinds.bye) {
    peer.left = true;
    work();
  } else {
    peer.frames.push({ kind, body });
    work();
  }
}

/** On process 0: somebody says who it is. */
function welcome(peer: Peer, kind: number, body: Buffer): void {
  if (kind !== frameKinds.hello || body.length !== signedHelloBytes) {
    peer.socket.destroy();
    return;
  }
  const said = body.subarray(0, helloBytes);
  if (!isProof(body.subarray(helloBytes), peer.challenge, said)) {
    refused++;
    const message = `process 0 at ${host}:${port} has another token`;
    send(peer.socket, frameKinds.failed, Buffer.from(message));
    peer.socket.end();
    return;
  }
  const [theirRank, theirWorld] = [said.readUInt32LE(0), said.readUInt32LE(4)];
  if (theirRank < 1 || theirRank >= theirWorld) {
    peer.socket.destroy();
    return;
  }
  if (theirWorld !== world || peers.some((other) => other.rank === theirRank)) {
    const message =
      theirWorld === world
        ? `there are two processes ${theirRank} of ${world}`
        : `process ${theirRank} is one of ${theirWorld}, process 0 one of ${world}`;
    send(peer.socket, frameKinds.failed, Buffer.from(message));
    fail(message);
    return;
  }
  peer.rank = theirRank;
  peer.theirChallenge = said.subarray(8);
  peers.push(peer);
  // In the order in which values are added.
  peers.sort((a, b) => a.rank - b.rank);
  if (peers.length < world - 1) return;
  for (const { socket, theirChallenge } of peers) {
    send(socket, frameKinds.hello, proof(token, theirChallenge, new Uint8Array(0)));
  }
  ready();
}

/** On the others: says who this is, and that it knows the token. */
function introduce(peer: Peer, theirs: Buffer): void {
  // Process 0 keeps the time from now on, and says who is missing. Unless nothing comes from it any more.
  clearTimeout(timeout);
  timeout = setTimeout(onLate, 2 * connectTimeoutMs + 10_000);
  const said = Buffer.alloc(helloBytes);
  said.writeUInt32LE(rank, 0);
  said.writeUInt32LE(world, 4);
  said.set(peer.challenge, 8);
  send(peer.socket, frameKinds.hello, Buffer.concat([said, proof(token, theirs, said)]));
}

function isProof(given: Uint8Array, challenge: Uint8Array, said: Uint8Array): boolean {
  const expected = proof(token, challenge, said);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function ready(): void {
  connected = true;
  clearTimeout(timeout);
  // Nobody else may come.
  server?.close();
  answers.postMessage({ kind: 'connected' } satisfies PeersAnswer);
}

/** Does what can be done of the requests, in their order. */
function work(): void {
  while (!ended && requests.length > 0) {
    const gone = peers.find(({ left, frames }) => left && frames.length === 0);
    if (gone !== undefined) {
      fail(`${nameOf([gone.rank])} has left, and process ${rank} goes on`);
      return;
    }
    // For each request everybody sends something, so that all are known to be at the same place.
    if (peers.some(({ frames }) => frames.length === 0)) return;
    if (rank === 0) combine(requests[0]);
    else take(requests[0]);
    requests.shift();
    if (ended) return;
    Atomics.add(counter, 0, 1);
    notify();
  }
}

/** On process 0: adds what the others have sent to the own values, in their order, and sends the result. */
function combine({ kind, values }: Work): void {
  const total = new Float32Array(values);
  for (const peer of peers) {
    const body = nextOf(peer, kind, kind === 'sum' ? values.byteLength : 0);
    if (body === undefined) return;
    for (let i = 0; i < body.length / 4; i++) total[i] += body.readFloatLE(4 * i);
  }
  for (const { socket } of peers) send(socket, frameKinds[kind], new Uint8Array(values));
}

/** On the others: takes the result. */
function take({ kind, values }: Work): void {
  const body = nextOf(peers[0], kind, values.byteLength);
  if (body !== undefined) new Uint8Array(values).set(body);
}

/** A peer's next message, which must be of a kind and length. */
function nextOf(peer: Peer, kind: Work['kind'], bytes: number): Buffer | undefined {
  const frame = peer.frames.shift()!;
  if (frame.kind === frameKinds[kind] && frame.body.length === bytes) return frame.body;
  fail(
    `processes ${peer.rank} and ${rank} of ${world} do different things: ${frame.body.length} bytes came, ` +
      `${bytes} were expected`,
  );
  return undefined;
}

parentPort!.on('message', (request: PeersRequest) => {
  if (request.kind === 'close') {
    end();
    clearTimeout(killing);
    for (const { socket } of peers) {
      send(socket, frameKinds.bye, new Uint8Array(0));
      socket.end();
      // What the others still send is not read any more.
      socket.removeAllListeners('data').resume();
    }
    parentPort!.close();
    answers.close();
    return;
  }
  if (ended) return;
  const { kind, values } = request;
  if (rank > 0) {
    const own = kind === 'sum' ? new Uint8Array(values) : new Uint8Array(0);
    send(peers[0].socket, frameKinds[kind], own);
  }
  requests.push(request);
  work();
});

function join(): void {
  const socket = connect({ host, port });
  const retry = (): void => {
    // Process 0 may come later.
    if (!ended) setTimeout(join, 100);
  };
  socket.once('error', retry);
  socket.once('connect', () => {
    socket.removeListener('error', retry);
    peers[0] = listen(socket, 0);
  });
}

if (world === 1) {
  ready();
} else if (rank > 0) {
  join();
} else {
  server = createServer((socket) => {
    send(socket, frameKinds.challenge, listen(socket, -1).challenge);
  });
  server.on('error', (error) => {
    fail(`process 0 cannot listen at ${host}:${port} (${error.message})`);
  });
  server.listen(port, host);
}
