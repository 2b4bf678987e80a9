/**
 * What a pixel of a bin tells:
 * - `histogram`: the count of events by polarity, channel 0 for OFF and 1 for ON (Maqueda et al. 2018)
 * - `spikes`: 1 where that count is positive
 * - `voxel`: the sum of polarities ±1, each spread bilinearly over the two nearest of the bins' sample
 *   times (Zhu et al. 2019, eqs. 1-3); one channel
 * - `signed`: the sum of polarities ±1 (Rebecq et al. 2017); one channel
 * - `binary`: 1 where there is an event of either polarity; one channel
 */
export type EventRepresentation = (typeof eventRepresentations)[number];

/** In the order of the native kernel's numbers. */
export const eventRepresentations = ['histogram', 'spikes', 'voxel', 'signed', 'binary'] as const;

/** Channels of a bin. */
export function channelsOf(representation: EventRepresentation): 1 | 2 {
  return representation === 'histogram' || representation === 'spikes' ? 2 : 1;
}

/** Whether all values are whole numbers from 0. */
export function fitsBytes(representation: EventRepresentation): boolean {
  return representation !== 'voxel' && representation !== 'signed';
}

/** Events as columns, in any order. */
export interface EventColumns {
  /** Times in µs. */
  readonly tUs: Float64Array;
  readonly x: Uint16Array;
  readonly y: Uint16Array;
  /** 0 = OFF, 1 = ON. */
  readonly polarity: Uint8Array;
}

/** The frames that events fall into. */
export interface EventGrid {
  readonly bins: number;
  readonly height: number;
  readonly width: number;
  /** The bins divide this time evenly; its end is in the last bin, and what lies outside in the nearest. */
  readonly fromUs: number;
  readonly toUs: number;
  /** Row of the frame for each row of the sensor. */
  readonly rows: Int32Array;
  /** Column of the frame for each column of the sensor. */
  readonly columns: Int32Array;
}

/** Who supports an event: pixels around it that had one not long ago. */
export interface EventSupport {
  /** Places from one row of the times to the next: the sensor's width and a border of one pixel on each side. */
  readonly stride: number;
  /** Places from the times of OFF events to those of ON events; 0 where both share them. */
  readonly plane: number;
  /** How far a time may be away in either direction, µs. */
  readonly windowUs: number;
  /** Pixels of the 8 around that an event needs. */
  readonly needed: number;
}

/** Loops over events, from the definition (`plainLoops`) or native (`eventLoops`); both give the same, decays to 1e-6. */
export interface EventLoops {
  /**
   * Adds events to `[bins, channels, height, width]`. Coordinates must lie within rows and columns. Bytes take
   * what is never negative (`fitsBytes`); counts stay at 255 there.
   */
  addToBins(
    out: Float32Array | Uint8Array,
    events: EventColumns,
    grid: EventGrid,
    representation: EventRepresentation,
  ): void;
  /**
   * Raises `[bins, 2, height, width]` to the times of its events since `fromUs`, within 0 … toUs - fromUs;
   * -Infinity stands where there was none.
   */
  raiseToLatest(latestUs: Float64Array, events: EventColumns, grid: EventGrid): void;
  /** exp(-(endUs - latestUs) / tauUs) of each time; 0 of -Infinity. */
  decaySince(out: Float32Array, latestUs: Float64Array, endUs: number, tauUs: number): void;
  /** Whether every event is on a sensor of the size, has a finite time, and 0 or 1 as its polarity. */
  sound(events: EventColumns, width: number, height: number): boolean;
  /** Whether every event is on a sensor of the size and has a whole time within ±2^51, whatever its polarity. */
  whole(events: EventColumns, width: number, height: number): boolean;
  /** Whether every value of a representation is finite. */
  finite(values: Float32Array): boolean;
  /**
   * Event by event: `keep` becomes 1 where enough pixels around support it, otherwise 0; then its time becomes
   * that of its pixel.
   *
   * @param lastUs rows of `stride` times, µs, -Infinity where there was none; bordered by one pixel.
   */
  markSupported(
    keep: Uint8Array,
    lastUs: Float64Array,
    events: EventColumns,
    support: EventSupport,
  ): void;
  /**
   * Writes the events whose flag in `keep` is not zero one after the other.
   *
   * @param to other memory, with room for one event more.
   * @returns how many there are.
   */
  select(to: EventColumns, events: EventColumns, keep: Uint8Array): number;
}

/** The bin of a time. Products of whole numbers are exact: an event on a border is never misplaced. */
export function binOf({ bins, fromUs, toUs }: EventGrid, tUs: number): number {
  if (tUs >= toUs) return bins - 1;
  return tUs > fromUs ? Math.floor((bins * (tUs - fromUs)) / (toUs - fromUs)) : 0;
}

/** The loops as they are defined, in JavaScript. */
export const plainLoops: EventLoops = {
  addToBins(out, { tUs, x, y, polarity }, grid, representation) {
    const { bins, width, fromUs, toUs, rows, columns } = grid;
    const plane = grid.height * width;
    const durationUs = toUs - fromUs;
    const channels = channelsOf(representation);
    const most = out instanceof Uint8Array ? 255 : Infinity;
    for (let i = 0; i < tUs.length; i++) {
      const pixel = rows[y[i]] * width + columns[x[i]];
      const sign = polarity[i] === 1 ? 1 : -1;
      if (representation === 'voxel') {
        const sinceUs = Math.max(0, Math.min(durationUs, tUs[i] - fromUs));
        const position = durationUs > 0 ? ((bins - 1) * sinceUs) / durationUs : 0;
        const lower = Math.floor(position);
        const upperShare = position - lower;
        out[lower * plane + pixel] += sign * (1 - upperShare);
        if (upperShare > 0) out[(lower + 1) * plane + pixel] += sign * upperShare;
        continue;
      }
      const channel = channels === 2 ? polarity[i] : 0;
      const cell = (channels * binOf(grid, tUs[i]) + channel) * plane + pixel;
      if (representation === 'histogram') out[cell] = Math.min(most, out[cell] + 1);
      else if (representation === 'signed') out[cell] += sign;
      else out[cell] = 1;
    }
  },

  raiseToLatest(latestUs, { tUs, x, y, polarity }, grid) {
    const { width, fromUs, toUs, rows, columns } = grid;
    const plane = grid.height * width;
    for (let i = 0; i < tUs.length; i++) {
      const sinceUs = Math.max(0, Math.min(toUs, tUs[i]) - fromUs);
      const cell =
        (2 * binOf(grid, tUs[i]) + polarity[i]) * plane + rows[y[i]] * width + columns[x[i]];
      if (sinceUs > latestUs[cell]) latestUs[cell] = sinceUs;
    }
  },

  decaySince(out, latestUs, endUs, tauUs) {
    for (let i = 0; i < out.length; i++) out[i] = Math.exp((latestUs[i] - endUs) / tauUs);
  },

  sound({ tUs, x, y, polarity }, width, height) {
    for (let i = 0; i < tUs.length; i++) {
      const finite = tUs[i] - tUs[i] === 0;
      if (!(finite && x[i] < width && y[i] < height && polarity[i] <= 1)) return false;
    }
    return true;
  },

  whole({ tUs, x, y }, width, height) {
    const most = 2 ** 51;
    for (let i = 0; i < tUs.length; i++) {
      const t = tUs[i];
      const sound = t === Math.floor(t) && t < most && t > -most;
      if (!(sound && x[i] < width && y[i] < height)) return false;
    }
    return true;
  },

  finite(values) {
    // NaN and infinities alone differ from themselves here.
    for (let i = 0; i < values.length; i++) if (values[i] - values[i] !== 0) return false;
    return true;
  },

  markSupported(keep, lastUs, { tUs, x, y, polarity }, { stride, plane, windowUs, needed }) {
    for (let i = 0; i < tUs.length; i++) {
      const pixel = polarity[i] * plane + (y[i] + 1) * stride + x[i] + 1;
      keep[i] = +(recentNeighbours(lastUs, pixel, stride, tUs[i], windowUs) >= needed);
      lastUs[pixel] = tUs[i];
    }
  },

  select(to, { tUs, x, y, polarity }, keep) {
    // Every event is written and only kept ones move on, which spares a branch; so one place more is needed.
    let next = 0;
    for (let i = 0; i < tUs.length; i++) {
      to.tUs[next] = tUs[i];
      to.x[next] = x[i];
      to.y[next] = y[i];
      to.polarity[next] = polarity[i];
      next += +(keep[i] !== 0);
    }
    return next;
  },
};

/**
 * How many of the 8 pixels around `pixel` have a time at most `windowUs` from `timeUs`, in either direction.
 * Comparisons become numbers instead of branches, which could not be foretold.
 *
 * @param stride places between one row and the next.
 */
export function recentNeighbours(
  lastUs: Float64Array,
  pixel: number,
  stride: number,
  timeUs: number,
  windowUs: number,
): number {
  const above = pixel - stride;
  const below = pixel + stride;
  return (
    +(Math.abs(timeUs - lastUs[above - 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[above]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[above + 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[pixel - 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[pixel + 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[below - 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[below]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[below + 1]) <= windowUs)
  );
}
