import { defineFilter } from './filter.js';

/**
 * Drops each event with the same probability. Whether event n of the stream passes depends on n and the
 * seed alone: its draw is a hash of both (the finaliser of MurmurHash3, twice), uniform in 0 … 2^32 - 1.
 *
 * State: the number of events so far, in its low and high 32 bits.
 */
export const randomDrop = defineFilter({
  name: 'randomDrop',
  summary: 'drop a share of the events at random',
  arguments: [
    { name: 'share', minimum: 0, maximum: 1, what: 'probability that an event is dropped' },
    {
      name: 'seed',
      minimum: 0,
      maximum: 2 ** 32 - 1,
      integer: true,
      default: 1,
      what: 'another seed drops other events',
    },
  ],
  create: ({ share, seed }) => {
    const dropBelow = share * 2 ** 32;
    return {
      start: (): Uint32Array => new Uint32Array(2),
      mark({ length }, count, keep) {
        for (let i = 0; i < length; i++) {
          const draw = mix(mix(seed + Math.imul(count[1], 0x9e3779b9)) + count[0]);
          keep[i] = +(draw >= dropBelow);
          count[0]++;
          if (count[0] === 0) count[1]++;
        }
      },
    };
  },
});

/** The finaliser of MurmurHash3, from and to 32 bits. */
function mix(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
