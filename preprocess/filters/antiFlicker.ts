import { SaccadeError } from '../../engine/support/errors.js';
import { defineFilter } from './filter.js';

const maxCycles = 255;

/**
 * Drops what lamps and screens cause: a band-stop filter of each pixel by itself. A period runs from one
 * turn from OFF to ON to the next (a first ON is a turn too). Each period of 1 / `maximumHz` to
 * 1 / `minimumHz` in a row counts; one outside of the band, or a pause longer than the longest period since
 * the last turn, ends the row. From the event on that completes `cycles` such periods, the pixel's events
 * are dropped until the row ends. (The same idea as the anti-flicker stages of sensors of today: Finateu et
 * al., ISSCC, 2020, describe one in hardware.)
 *
 * State, by pixel, row by row: the time of the last turn, µs, -Infinity before the first; the polarity of
 * the last event; periods in a row, at most 255.
 */
export const antiFlicker = defineFilter({
  name: 'antiFlicker',
  summary: 'drop events of pixels that flicker within a band of frequencies',
  arguments: [
    { name: 'minimumHz', minimum: 0.01, maximum: 1e5, what: 'lowest frequency of the band, Hz' },
    { name: 'maximumHz', minimum: 0.01, maximum: 1e5, what: 'highest frequency of the band, Hz' },
    {
      name: 'cycles',
      minimum: 1,
      maximum: maxCycles,
      integer: true,
      default: 3,
      what: 'periods in a row that make a flicker',
    },
  ],
  create: ({ minimumHz, maximumHz, cycles }) => {
    if (minimumHz > maximumHz) {
      throw new SaccadeError(
        'usage',
        `filter "antiFlicker": minimumHz is ${minimumHz}, expected at most maximumHz, ${maximumHz}`,
      );
    }
    const shortestUs = 1e6 / maximumHz;
    const longestUs = 1e6 / minimumHz;
    return {
      start: ({ width, height }) => ({
        turnUs: new Float64Array(width * height).fill(-Infinity),
        polarity: new Uint8Array(width * height),
        periods: new Uint8Array(width * height),
      }),
      mark({ length, sensor: { width }, tUs, x, y, polarity }, last, keep) {
        for (let i = 0; i < length; i++) {
          const pixel = y[i] * width + x[i];
          const sinceUs = Math.abs(tUs[i] - last.turnUs[pixel]);
          if (sinceUs > longestUs) last.periods[pixel] = 0;
          if (polarity[i] === 1 && last.polarity[pixel] === 0) {
            const inBand = sinceUs >= shortestUs && sinceUs <= longestUs;
            const periods = last.periods[pixel];
            last.periods[pixel] = inBand ? Math.min(periods + 1, maxCycles) : 0;
            last.turnUs[pixel] = tUs[i];
          }
          last.polarity[pixel] = polarity[i];
          keep[i] = +(last.periods[pixel] < cycles);
        }
      },
    };
  },
});
