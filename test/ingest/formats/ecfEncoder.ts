import type { EventRow } from '../streams.js';

/** How x, y and polarity are written. */
export type EcfPacking = 'all' | 'xAndPolarity' | 'runs';

/** Encodes a chunk of Prophesee's event compression, as `ecf.ts` describes it. */
export function encodeEcf(rows: readonly EventRow[], packing: EcfPacking): Uint8Array {
  const bytes: number[] = [];
  const word = (value: number, size: number): void => {
    for (let i = 0; i < size; i++) bytes.push(Math.floor(value / 2 ** (8 * i)) % 256);
  };
  word(rows.length * 4 + { all: 2, xAndPolarity: 1, runs: 0 }[packing], 4);
  const [first] = rows[0];
  word(((first % 2 ** 32) + 2 ** 32) % 2 ** 32, 4);
  word((Math.floor(first / 2 ** 32) + 2 ** 32) % 2 ** 32, 4);
  let time = first;
  for (const { value, count } of runsOf(rows.map((row) => row[0]))) {
    let step = value - time;
    time = value;
    if (step >= 15) {
      for (; step > 0; step = Math.floor(step / 16)) bytes.push(0xf0 | (step % 16));
    }
    bytes.push((step << 4) | Math.min(count, 15));
    if (count >= 15) word(count, 2);
  }
  if (packing !== 'all') {
    for (const { value, count } of runsOf(rows.map((row) => row[2]))) {
      word((value << 5) | Math.min(count, 31), 2);
      if (count >= 31) word(count, 2);
    }
  }
  if (packing === 'runs') {
    for (let i = 0; i < rows.length;) {
      const x = rows[i++][1];
      let mask = 0;
      for (let j = 1; j <= 5; j++) {
        if (rows[i]?.[1] !== x + j) continue;
        mask |= 1 << (5 - j);
        i++;
      }
      word((x << 5) | mask, 2);
    }
    for (const { value, count } of runsOf(rows.map((row) => row[3]))) {
      bytes.push((value << 7) | Math.min(count, 127));
      if (count >= 127) word(count, 2);
    }
    return Uint8Array.from(bytes);
  }
  const [bits, size] = packing === 'all' ? [24, 4] : [12, 2];
  for (let i = 0; i < rows.length; i += 4) {
    const fields = [0, 1, 2, 3].map((j) => {
      const [, x, y, polarity] = rows[i + j] ?? [0, 0, 0, 0];
      return BigInt((packing === 'all' ? y << 12 : 0) | (x << 1) | polarity);
    });
    // The first event in the highest bits of the first word, the low bits of the second one behind it, and so on.
    const part = BigInt(bits / 3);
    const low = (value: bigint, count: bigint): bigint => value & ((1n << count) - 1n);
    word(Number((fields[0] << part) | low(fields[1], part)), size);
    word(Number(((fields[1] >> part) << (2n * part)) | low(fields[2], 2n * part)), size);
    word(Number(((fields[2] >> (2n * part)) << (3n * part)) | fields[3]), size);
  }
  return Uint8Array.from(bytes);
}

function runsOf(values: readonly number[]): { value: number; count: number }[] {
  const runs: { value: number; count: number }[] = [];
  for (const value of values) {
    const last = runs.at(-1);
    if (last?.value === value) last.count++;
    else runs.push({ value, count: 1 });
  }
  return runs;
}
