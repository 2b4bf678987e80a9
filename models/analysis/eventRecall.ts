import { SaccadeError } from '../../engine/support/errors.js';
import type { Random } from '../../engine/support/random.js';
import { BatchBuilder, type EventBatch, type SensorSize } from '../../ingest/eventBatch.js';
import { recallSequence, type RecallConfig } from './associativeRecall.js';

export interface EventRecallConfig {
  readonly sensor: SensorSize;
  /** Side of the cells that motions are confined to, in pixels, at least 2. */
  readonly cell: number;
  /** Time of one symbol, µs. */
  readonly symbolUs: number;
  readonly recall: Omit<RecallConfig, 'keys' | 'values'>;
  /** Number of values: what has to be recalled. */
  readonly values: number;
}

export interface EventRecallClip {
  readonly events: EventBatch;
  /** For each span of `symbolUs`, the value asked for in it, 0 … values - 1; -1 where none is. */
  readonly targets: Int32Array;
  /** Symbols as in MQAR, of which the events were made. */
  readonly symbols: Int32Array;
}

const directions = 4;

/** Cells for keys, and the bottom row of pixels blocks for values. */
function layout({ sensor, cell, values }: EventRecallConfig): {
  columns: number;
  keys: number;
  block: number;
} {
  const columns = Math.floor(sensor.width / cell);
  const rows = Math.floor(sensor.height / cell) - 1;
  const block = Math.floor(sensor.width / values);
  const keys = columns * rows * directions;
  if (cell < 2 || rows < 1 || block < 1) {
    throw new SaccadeError(
      'config',
      `a sensor of ${sensor.width} × ${sensor.height} pixels has no room for cells of ${cell} ` +
        `above a row of ${values} values`,
      { field: 'cell' },
    );
  }
  return { columns, keys, block };
}

/** Number of different keys: each cell has an edge that moves in four directions. */
export function eventKeys(config: EventRecallConfig): number {
  return layout(config).keys;
}

/**
 * MQAR of motions: a key is an edge that sweeps through one cell of the sensor in one direction (ON events
 * where it arrives, OFF where it left), a value a block of the bottom row that lights up. Spans of the same
 * length follow each other; in those that fill gaps nothing moves. A key is told from the one that moves
 * the other way by time within its span, and by its first and last line.
 *
 * @throws SaccadeError of kind `config` where pairs and values don't fit.
 */
export function eventRecallClip(config: EventRecallConfig, random: Random): EventRecallClip {
  const { sensor, cell, symbolUs, values } = config;
  const { columns, keys, block } = layout(config);
  const { symbols, targets } = recallSequence({ ...config.recall, keys, values }, random);
  const builder = new BatchBuilder(sensor, symbols.length * cell * cell * 2);
  symbols.forEach((symbol, i) => {
    const startUs = i * symbolUs;
    if (symbol > keys) {
      const left = (symbol - keys - 1) * block;
      for (let y = sensor.height - cell; y < sensor.height; y++) {
        for (let x = left; x < left + block; x++) builder.push(startUs, x, y, 1);
      }
    } else if (symbol > 0) {
      sweep(builder, symbol - 1, columns, cell, startUs, symbolUs);
    }
  });
  return {
    events: builder.take(),
    targets: targets.map((target) => (target < 0 ? -1 : target - keys - 1)),
    symbols,
  };
}

/** An edge through one cell: line after line gets brighter, the line before it darker. */
function sweep(
  builder: BatchBuilder,
  key: number,
  columns: number,
  cell: number,
  startUs: number,
  symbolUs: number,
): void {
  const direction = key % directions;
  const place = Math.floor(key / directions);
  const [left, top] = [(place % columns) * cell, Math.floor(place / columns) * cell];
  const vertical = direction % 2 === 1;
  const backwards = direction >= 2;
  for (let step = 1; step < cell; step++) {
    const tUs = startUs + Math.floor((step * symbolUs) / cell);
    for (const [line, polarity] of [
      [step, 1],
      [step - 1, 0],
    ]) {
      const along = backwards ? cell - 1 - line : line;
      for (let across = 0; across < cell; across++) {
        const [dx, dy] = vertical ? [across, along] : [along, across];
        builder.push(tUs, left + dx, top + dy, polarity);
      }
    }
  }
}
