import { loadAddon, type NativeFunction } from '../engine/native/addon.js';
import type { ByteReader, ByteWriter } from './bytes.js';
import type { BatchBuilder, EventBatch, SensorSize } from './eventBatch.js';

/** The loops of the native addon (`engine/native/src/events.cc`, `lz4.cc`). */
export type CompiledLoopName =
  | 'decodeEvt2'
  | 'decodeEvt3'
  | 'decodeDat'
  | 'decodeAedat2'
  | 'decodeAedat4'
  | 'decodeLz4Block'
  | 'encodeCsv'
  | 'encodeEvt3';

/** Values of the state in front of the format's own: where the loop stopped, in bytes and events. */
const ownState = 2;

/**
 * The fast way of a decoder: a compiled loop over its words, which does as the decoder's own loop does and
 * stops in front of what that must report.
 */
export class CompiledLoop {
  /** What the loop is told and tells of the format's state. */
  readonly state: Float64Array;
  private readonly values: Float64Array;

  private constructor(
    private readonly run: NativeFunction,
    stateLength: number,
  ) {
    this.values = new Float64Array(ownState + stateLength);
    this.state = this.values.subarray(ownState);
  }

  /**
   * The loop, where it is built and wanted.
   *
   * @param stateLength number of values that the format's state takes.
   * @param wanted see `DecodeOptions.compiled`.
   */
  static of(name: CompiledLoopName, stateLength: number, wanted = true): CompiledLoop | undefined {
    const run = wanted ? compiledFunction(name) : undefined;
    return run && new CompiledLoop(run, stateLength);
  }

  /**
   * Decodes records from `input.position` on, and moves that and `events.length`.
   *
   * @param full number of events to stop at.
   */
  decode(input: ByteReader, events: BatchBuilder, full: number, sensor: SensorSize): void {
    const { bytes, position, end } = input;
    input.position = this.decodeBytes(bytes, position, end, events, full, sensor);
  }

  /** The same with bytes that are not the reader's; returns where it stopped. */
  decodeBytes(
    bytes: Uint8Array,
    position: number,
    end: number,
    events: BatchBuilder,
    full: number,
    { width, height }: SensorSize,
  ): number {
    const { tUs, x, y, polarity, length } = events;
    const { values } = this;
    this.run(bytes, position, end, tUs, x, y, polarity, length, full, width, height, values);
    events.length = values[1];
    return values[0];
  }
}

/** The loop itself, where it is built. */
function compiledFunction(name: CompiledLoopName): NativeFunction | undefined {
  try {
    // An addon from before the loop was written may not have it.
    return loadAddon().kernels[name] as NativeFunction | undefined;
  } catch {
    return undefined;
  }
}

/**
 * The loop that writes events of whole times as text (`csv.ts`), where it is built and wanted: it writes the
 * events `start` to `end - 1` behind `output.length`, and moves that.
 */
export function compiledCsvWriter(
  wanted = true,
): ((output: ByteWriter, batch: EventBatch, start: number, end: number) => void) | undefined {
  const run = wanted ? compiledFunction('encodeCsv') : undefined;
  if (run === undefined) return undefined;
  const length = new Float64Array(1);
  return (output, { tUs, x, y, polarity }, start, end) => {
    run(output.bytes, output.length, tUs, x, y, polarity, start, end, length);
    output.length = length[0];
  };
}

/**
 * The loop that writes EVT 3.0 words (`evt3.ts`), where it is built and wanted: it writes the events `start` to `end - 1`
 * behind `output.length`, where there is room for them, and moves that.
 *
 * @returns what returns the index of the first event that was not written; its state is that of `src/events.cc`.
 */
export function compiledEvt3Writer(
  wanted = true,
):
  | ((
      output: ByteWriter,
      batch: EventBatch,
      start: number,
      end: number,
      state: Float64Array,
    ) => number)
  | undefined {
  const run = wanted ? compiledFunction('encodeEvt3') : undefined;
  if (run === undefined) return undefined;
  return (output, { tUs, x, y, polarity }, start, end, state) => {
    run(output.halfWords, output.length >> 1, tUs, x, y, polarity, start, end, state);
    output.length = state[8] << 1;
    return state[9];
  };
}

/**
 * The loop that decompresses LZ4 blocks (`lz4.ts`), where it is built and wanted: it writes what is in bytes `start` to
 * `end - 1` of a block behind the first `to` bytes of `out`, up to `limit` of them, and may change those behind.
 *
 * @returns what returns how many bytes there are then, -1 where the block is damaged, or -2 where `out` is too short.
 */
export function compiledLz4Decoder(
  wanted = true,
):
  | ((
      block: Uint8Array,
      start: number,
      end: number,
      out: Uint8Array,
      to: number,
      limit: number,
    ) => number)
  | undefined {
  const run = wanted ? compiledFunction('decodeLz4Block') : undefined;
  if (run === undefined) return undefined;
  const result = new Float64Array(1);
  return (block, start, end, out, to, limit) => {
    run(block, start, end, out, to, limit, result);
    return result[0];
  };
}
