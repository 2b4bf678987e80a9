import { grouped } from './io.js';

/** Shows that a stream of events of unknown length is moving. */
export interface EventProgress {
  /** More events have passed. */
  add(events: number): void;
  /** Clears the terminal's line; the command then prints its result. */
  done(): void;
}

export interface EventProgressOptions {
  readonly label: string;
  readonly silent?: boolean;
  readonly stream: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** The clock, in milliseconds. */
  readonly now?: () => number;
}

const terminalIntervalMs = 200;
/** Without a terminal (a log file, CI) a line is printed at most this often. */
const lineIntervalMs = 5000;

/** On a terminal one line that is rewritten, elsewhere a line every few seconds. */
export function createEventProgress(options: EventProgressOptions): EventProgress {
  const { label, silent = false, stream, now = Date.now } = options;
  if (silent) return { add: () => undefined, done: () => undefined };
  const terminal = stream.isTTY === true;
  const intervalMs = terminal ? terminalIntervalMs : lineIntervalMs;
  const startMs = now();
  let lastMs = startMs;
  let total = 0;
  let shown = false;
  return {
    add: (events) => {
      total += events;
      const nowMs = now();
      if (nowMs - lastMs < intervalMs) return;
      lastMs = nowMs;
      shown = true;
      const perSecond = grouped(Math.round((1000 * total) / (nowMs - startMs)));
      const text = `${label}: ${grouped(total)} events, ${perSecond} events/s`;
      stream.write(terminal ? `\r\u001b[K${text}` : `${text}\n`);
    },
    done: () => {
      if (terminal && shown) stream.write('\r\u001b[K');
      shown = false;
    },
  };
}
