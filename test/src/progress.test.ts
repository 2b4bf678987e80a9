import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createProgress, durationText } from '../../src/progress.js';

class FakeStream extends Writable {
  written = '';
  constructor(readonly isTTY: boolean) {
    super();
  }
  override _write(chunk: Buffer, _encoding: string, finished: () => void): void {
    this.written += String(chunk);
    finished();
  }
  get lines(): string[] {
    return this.written.split('\n').slice(0, -1);
  }
}

function clock(): { now: () => number; pass: (ms: number) => void } {
  let nowMs = 1_000_000;
  return { now: () => nowMs, pass: (ms) => (nowMs += ms) };
}

describe('createProgress without a terminal', () => {
  it('prints a line every five seconds at most, and one at the end', () => {
    const stream = new FakeStream(false);
    const { now, pass } = clock();
    const progress = createProgress({ stream, label: 'train', total: 120, now });
    for (let step = 1; step <= 120; step++) {
      pass(100);
      progress.update(step, `loss ${(1 / step).toFixed(2)}`);
    }
    progress.done();
    expect(stream.lines).toEqual([
      'train: 41 % (50/120), ETA 7s, loss 0.02',
      'train: 83 % (100/120), ETA 2s, loss 0.01',
      'train: 100 % (120/120), in 12s, loss 0.01',
    ]);
  });

  it('tells how far it came when it stops early, once', () => {
    const stream = new FakeStream(false);
    const { now, pass } = clock();
    const progress = createProgress({ stream, label: 'train', total: 10, now });
    pass(65_000);
    progress.update(3);
    progress.done('interrupted');
    progress.done();
    progress.update(4);
    expect(stream.lines).toEqual([
      'train: 30 % (3/10), ETA 2m32s',
      'train: 30 % (3/10), in 1m05s, interrupted',
    ]);
  });

  it('measures the pace of a resumed run from where it began', () => {
    const stream = new FakeStream(false);
    const { now, pass } = clock();
    const progress = createProgress({ stream, label: 'train', total: 100, start: 80, now });
    pass(10_000);
    progress.update(90);
    expect(stream.lines).toEqual(['train: 90 % (90/100), ETA 10s']);
    progress.done();
  });

  it('has an end for no work', () => {
    const stream = new FakeStream(false);
    createProgress({ stream, label: 'convert', total: 0, now: clock().now }).done();
    expect(stream.lines).toEqual(['convert: 100 % (0/0), in 0s']);
  });
});

describe('createProgress on a terminal', () => {
  it('draws a bar with ETA and note, and ends the line', () => {
    const stream = new FakeStream(true);
    const { now, pass } = clock();
    const progress = createProgress({ stream, label: 'train', total: 4, now });
    pass(30_000);
    progress.update(2, 'loss 0.5');
    expect(stream.written).toContain('train [');
    expect(stream.written).toContain('ETA –');
    pass(30_000);
    progress.update(4);
    progress.done();
    expect(stream.written).toContain('100 % 4/4 in 1m00s loss 0.5');
    expect(stream.written.endsWith('\n')).toBe(true);

    const { written } = stream;
    progress.update(1);
    progress.done();
    expect(stream.written).toBe(written);
  });

  it('leaves Ctrl-C to the command', () => {
    const before = process.listenerCount('SIGINT');
    const progress = createProgress({ stream: new FakeStream(true), label: 'train', total: 4 });
    expect(process.listenerCount('SIGINT')).toBe(before);
    progress.done();
  });
});

describe('createProgress in silence', () => {
  it.each([true, false])('writes nothing (terminal: %s)', (isTTY) => {
    const stream = new FakeStream(isTTY);
    const { now, pass } = clock();
    const progress = createProgress({ stream, label: 'train', total: 4, silent: true, now });
    pass(60_000);
    progress.update(2);
    progress.done();
    expect(stream.written).toBe('');
  });
});

describe('durationText', () => {
  it.each([
    [0, '0s'],
    [59_400, '59s'],
    [59_600, '1m00s'],
    [125_000, '2m05s'],
    [3_720_000, '1h02m'],
  ])('%d ms is %s', (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });
});
