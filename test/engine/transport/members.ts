import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

import { afterEach, expect } from 'vitest';

export type Call = {
  readonly call: string;
  readonly value?: unknown;
  readonly operation?: string;
};

/** One process of a group: `process.mjs`. */
export class Member {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly lines: AsyncIterator<string>;

  constructor(rank: number, world: number, port: number, options: object = {}) {
    const script = resolve('test/engine/transport/process.mjs');
    const place = { rank, world, host: '127.0.0.1', port, connectTimeoutMs: 100_000, ...options };
    this.child = spawn(process.execPath, [script, resolve('dist'), JSON.stringify(place)]);
    this.child.stdin.on('error', () => undefined);
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async answer(): Promise<unknown> {
    const { value, done } = await this.lines.next();
    return done ? 'ended' : (JSON.parse(value) as unknown);
  }

  ask(call: Call): Promise<unknown> {
    this.child.stdin.write(`${JSON.stringify(call)}\n`);
    return this.answer();
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts processes in a test file, and ends them after each test. */
export class Members {
  private readonly started: Member[] = [];

  constructor() {
    afterEach(() => {
      for (const member of this.started.splice(0)) member.kill();
    });
  }

  /** @param options of the transport, in place of the usual ones. */
  startOne(rank: number, world: number, port: number, options?: object): Member {
    const member = new Member(rank, world, port, options);
    this.started.push(member);
    return member;
  }

  async start(world: number): Promise<Member[]> {
    const port = await freePort();
    // The first one last: the others wait for it.
    const members = Array.from({ length: world }, (_, i) =>
      this.startOne(world - 1 - i, world, port),
    );
    members.reverse();
    for (const member of members) expect(await member.answer()).toBe('connected');
    return members;
  }
}

/** Asks all at once. */
export function askAll(
  members: readonly Member[],
  calls: (rank: number) => Call,
): Promise<unknown[]> {
  return Promise.all(members.map((member, rank) => member.ask(calls(rank))));
}
