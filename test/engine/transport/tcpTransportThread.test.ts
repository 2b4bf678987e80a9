import { type AddressInfo, connect, createServer } from 'node:net';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { askAll as all, freePort, Members } from './members.js';

describe('TcpTransport', { timeout: 120_000 }, () => {
  const processes = new Members();

  it.each([1, 2, 3, 4])(
    'adds and averages ragged arrays over %i processes, with the same bits everywhere',
    async (world) => {
      const members = await processes.start(world);
      const value = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 });
      const lengths = fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 4 });
      const inputs = lengths.chain((each) =>
        fc.tuple(
          ...Array.from({ length: world }, () =>
            fc.tuple(
              ...each.map((length) => fc.array(value, { minLength: length, maxLength: length })),
            ),
          ),
        ),
      );
      await fc.assert(
        fc.asyncProperty(inputs, fc.constantFrom('sum', 'mean'), async (values, operation) => {
          const answers = (await all(members, (rank) => ({
            call: 'reduce',
            value: values[rank],
            operation,
          }))) as number[][][];
          const expected = values[0].map((first, i) =>
            first.map((_, k) => {
              // In the order of the processes, in float32.
              const total = values.reduce((sum, own) => Math.fround(sum + own[i][k]), 0);
              return Math.fround(operation === 'sum' ? total : total / world);
            }),
          );
          // JSON has no -0.
          const plain = (list: number[][]): number[][] => list.map((own) => own.map((x) => x + 0));
          for (const answer of answers) expect(plain(answer)).toEqual(plain(expected));
        }),
        { numRuns: 15 },
      );
    },
  );

  it('does several things that were asked for at once in their order', async () => {
    const members = await processes.start(2);
    const answers = await all(members, (rank) => ({
      call: 'twice',
      value: [[rank + 1, 5], [10 * rank]],
      operation: 'sum',
    }));
    expect(answers).toEqual(Array(2).fill([[3, 10], [10]]));
  });

  it('spreads values and texts of process 0, and tells all what one says', async () => {
    const members = await processes.start(3);
    const spread = await all(members, (rank) => ({ call: 'broadcast', value: [[rank + 1], []] }));
    expect(spread).toEqual(Array(3).fill([[1], []]));
    const text = await all(members, (rank) => ({ call: 'text', value: `ü${'x'.repeat(rank)}` }));
    expect(text).toEqual(['ü', 'ü', 'ü']);
    expect(await all(members, (rank) => ({ call: 'any', value: rank === 2 }))).toEqual(
      Array(3).fill(true),
    );
    expect(await all(members, () => ({ call: 'any', value: false }))).toEqual(Array(3).fill(false));
    expect(await all(members, () => ({ call: 'close' }))).toEqual(Array(3).fill('closed'));
  });

  it.each([0, 1, 2])('ends all where process %i is killed, and names it', async (killed) => {
    const members = await processes.start(3);
    const others = members.filter((_, rank) => rank !== killed);
    const waiting = others.map((member) => member.ask({ call: 'any', value: false }));
    members[killed].kill();
    const failure = {
      kind: 'environment',
      message: `process ${killed} of 3 ended before the others`,
    };
    expect(await Promise.all(waiting)).toEqual([failure, failure]);
    // It stays so.
    expect(await others[0].ask({ call: 'any', value: false })).toEqual(failure);
  });

  it('says who has left while the others go on', async () => {
    const members = await processes.start(2);
    expect(await members[1].ask({ call: 'close' })).toBe('closed');
    expect(await members[0].ask({ call: 'any', value: true })).toEqual({
      kind: 'environment',
      message: 'process 1 of 2 has left, and process 0 goes on',
    });
  });

  it('notices that processes do different things', async () => {
    const members = await processes.start(2);
    const answers = await all(members, (rank) => ({
      call: 'reduce',
      value: [Array(rank + 1).fill(1)],
      operation: 'sum',
    }));
    for (const answer of answers) {
      expect(answer).toMatchObject({
        kind: 'environment',
        message: expect.stringContaining('do different things') as string,
      });
    }
  });

  it('names who does not come, and who does not fit', async () => {
    // The stray one may take longer to start than the other one waits.
    for (const seconds of [1, 5, 25]) {
      const port = await freePort();
      const alone = processes.startOne(0, 3, port, { connectTimeoutMs: 1000 * seconds });
      const stray = processes.startOne(1, 3, port);
      const answer = (await alone.answer()) as { message: string };
      if (answer.message.startsWith('process 1, 2 of 3 did not come') && seconds < 25) continue;
      expect(answer).toMatchObject({
        kind: 'environment',
        message: `process 2 of 3 did not come to 127.0.0.1:${port} in ${seconds} s`,
      });
      expect(await stray.answer()).toMatchObject({
        message: expect.stringContaining('process 2 of 3 did not come') as string,
      });
      break;
    }
    const other = await freePort();
    const [first, wrong] = [processes.startOne(0, 2, other), processes.startOne(1, 4, other)];
    for (const member of [first, wrong]) {
      expect(await member.answer()).toMatchObject({
        message: 'process 1 is one of 4, process 0 one of 2',
      });
    }
    const third = await freePort();
    const machine = processes.startOne(0, 4, third, { connectTimeoutMs: 100, perNode: 2 });
    expect(await machine.answer()).toMatchObject({
      message: `process 1, 2, 3 of 4 (node 0, 1 of 2) did not come to 127.0.0.1:${third} in 0.1 s`,
    });
    const nobody = processes.startOne(1, 2, await freePort(), { connectTimeoutMs: 300 });
    expect(await nobody.answer()).toMatchObject({
      message: expect.stringMatching(
        /^process 0 of 2 did not answer at 127\.0\.0\.1:\d+ in 0\.3 s$/,
      ) as string,
    });
  });

  it('lets in who knows the token, and nobody else', async () => {
    const port = await freePort();
    const token = 'known to both of them';
    const first = processes.startOne(0, 2, port, { token });
    for (const other of [undefined, 'known to one of them']) {
      const stranger = processes.startOne(1, 2, port, { token: other });
      expect(await stranger.answer()).toEqual({
        kind: 'environment',
        message: `process 0 at 127.0.0.1:${port} has another token`,
      });
    }
    const second = processes.startOne(1, 2, port, { token });
    expect(await all([first, second], () => ({ call: 'any', value: true }))).toEqual([
      'connected',
      'connected',
    ]);
    expect([await first.answer(), await second.answer()]).toEqual([true, true]);
  });

  it('believes nobody who only listens there', async () => {
    const server = createServer((socket) => {
      const frame = (kind: number, bytes: number): Buffer => {
        const head = Buffer.alloc(5 + bytes, 7);
        head.writeUInt8(kind, 0);
        head.writeUInt32LE(bytes, 1);
        return head;
      };
      // A challenge, and a proof that is none.
      socket.write(Buffer.concat([frame(5, 32), frame(0, 32)]));
      socket.on('error', () => undefined).resume();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    const member = processes.startOne(1, 2, port, { token: 'known to both of them' });
    expect(await member.answer()).toEqual({
      kind: 'environment',
      message: `who answers at 127.0.0.1:${port} has another token than process 1`,
    });
    member.kill();
    await new Promise((done) => server.close(done));
  });

  it('is not ended by bytes that nobody understands', async () => {
    const port = await freePort();
    const first = processes.startOne(0, 2, port);
    const bytes = fc.uint8Array({ maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(bytes, async (noise) => {
        await new Promise<void>((done) => {
          const attempt = (): void => {
            const socket = connect(port, '127.0.0.1');
            let isRefused = false;
            socket.once('connect', () => socket.end(noise));
            socket.once('error', ({ code }: NodeJS.ErrnoException) => {
              isRefused = code === 'ECONNREFUSED';
            });
            // It may not listen yet.
            socket.once('close', () => (isRefused ? setTimeout(attempt, 50) : done()));
            socket.resume();
          };
          attempt();
        });
      }),
      { numRuns: 20 },
    );
    const second = processes.startOne(1, 2, port);
    expect([await first.answer(), await second.answer()]).toEqual(['connected', 'connected']);
  });
});
