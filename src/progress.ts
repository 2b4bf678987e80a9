import { SingleBar } from 'cli-progress';

/** Tells a user how far long work has come. */
export interface Progress {
  /**
   * @param done units finished so far, of the total.
   * @param info a short note, for instance "loss 0.52"; it stays until the next one.
   */
  update(done: number, info?: string): void;
  /** Prints the last state and frees the terminal. Call it in a `finally`; again is harmless. */
  done(info?: string): void;
}

export interface ProgressOptions {
  /** What is being done, for instance "train". */
  readonly label: string;
  /** Units of the whole work. */
  readonly total: number;
  /** Units that were finished before, by a run that is being resumed; they don't count for the ETA. */
  readonly start?: number;
  /** Prints nothing at all (`--json`, `--quiet`). */
  readonly silent?: boolean;
  /** Standard error by default, so that standard output stays for results. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** The clock, in milliseconds. */
  readonly now?: () => number;
}

/** Without a terminal (a log file, CI) a line is printed at most this often. */
const lineIntervalMs = 5000;

/**
 * On a terminal a bar with ETA; elsewhere a plain line every few seconds and one at the end. The ETA
 * assumes that the rest goes at the mean pace since the start.
 */
export function createProgress(options: ProgressOptions): Progress {
  if (options.silent) return { update: () => undefined, done: () => undefined };
  const { stream = process.stderr } = options;
  return stream.isTTY ? barProgress(stream, options) : lineProgress(stream, options);
}

function barProgress(
  stream: NodeJS.WritableStream,
  { label, total, start = 0, now = Date.now }: ProgressOptions,
): Progress {
  const startMs = now();
  const remaining = (done: number): string =>
    `ETA ${etaText(now() - startMs, done - start, total - done)}`;
  const bar = new SingleBar({
    stream,
    format: `${label} [{bar}] {percentage} % {value}/{total} {time} {info}`,
    barsize: 24,
    // Leaves the terminal's settings alone: nothing to restore after a crash.
    hideCursor: false,
    linewrap: true,
    // Its handlers for Ctrl-C would stand beside those of the command, which checkpoints first.
    gracefulExit: false,
  });
  let current = start;
  let note = '';
  let open = true;
  bar.start(total, start, { time: remaining(start), info: note });
  return {
    update: (done, info = note) => {
      current = done;
      note = info;
      bar.update(done, { time: remaining(done), info });
    },
    done: (info = note) => {
      if (!open) return;
      open = false;
      bar.update(current, { time: `in ${durationText(now() - startMs)}`, info });
      bar.stop();
    },
  };
}

function lineProgress(
  stream: NodeJS.WritableStream,
  { label, total, start = 0, now = Date.now }: ProgressOptions,
): Progress {
  const startMs = now();
  let lastLineMs = startMs;
  let current = start;
  let note = '';
  let open = true;

  const print = (time: string): void => {
    const percentage = total > 0 ? Math.floor(Math.min(1, current / total) * 100) : 100;
    const parts = [`${label}: ${percentage} % (${current}/${total})`, time, note];
    stream.write(`${parts.filter((part) => part !== '').join(', ')}\n`);
  };
  return {
    update: (done, info = note) => {
      current = done;
      note = info;
      if (!open || now() - lastLineMs < lineIntervalMs) return;
      lastLineMs = now();
      print(`ETA ${etaText(lastLineMs - startMs, done - start, total - done)}`);
    },
    done: (info = note) => {
      if (!open) return;
      open = false;
      note = info;
      print(`in ${durationText(now() - startMs)}`);
    },
  };
}

function etaText(elapsedMs: number, finished: number, left: number): string {
  return finished > 0 ? durationText((elapsedMs / finished) * Math.max(0, left)) : '–';
}

/** "7s", "2m05s", "1h02m". */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes === 0) return `${seconds}s`;
  const pad = (value: number): string => String(value).padStart(2, '0');
  if (minutes < 60) return `${minutes}m${pad(seconds % 60)}s`;
  return `${Math.floor(minutes / 60)}h${pad(minutes % 60)}m`;
}
