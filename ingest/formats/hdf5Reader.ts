import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Metadata } from 'h5wasm/node';

/**
 * How long HDF5 may take for one answer, ms: a chunk of a million rows from a slow disk takes far less than 10 s.
 * `SACCADE_HDF5_PATIENCE_MS` sets another time (the tests with damaged files have less patience).
 */
const patienceMs = (): number => Number(process.env.SACCADE_HDF5_PATIENCE_MS) || 10_000;

/** A dataset as HDF5 describes it. */
export interface Hdf5Dataset {
  readonly metadata: Metadata;
  readonly filters: readonly Hdf5Filter[];
}

export interface Hdf5Filter {
  readonly id: number;
  readonly name: string;
  /** What the filter keeps with the dataset. */
  readonly cd_values: readonly number[];
}

/** What is asked of the thread, and what it answers. */
interface Calls {
  open: { ask: { path: string }; answer: number };
  list: { ask: { file: number }; answer: { paths: string[]; datasets: [string, Hdf5Dataset][] } };
  attribute: { ask: { file: number; path: string; name: string }; answer: string | undefined };
  read: {
    ask: { file: number; path: string; counts: number[]; offsets: number[]; length: number };
    answer: Uint8Array;
  };
  close: { ask: { file: number }; answer: undefined };
}

type CallName = keyof Calls;

interface Answer {
  readonly id: number;
  readonly answer: never;
  readonly error?: string;
  /** Whether the library cannot go on. */
  readonly fatal?: boolean;
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** Why a call was not answered that did no harm itself: it can be made again, of another thread. */
class ThreadEnded extends Error {
  constructor() {
    super('HDF5 has ended');
  }
}

/**
 * Reads HDF5 files in a thread of its own. On a damaged file, the HDF5 library can loop for ever or abort; nothing
 * but the end of its thread helps then. One thread serves all files, and does not keep the process alive.
 */
class Hdf5Thread {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;
  dead = false;

  constructor() {
    const library = pathToFileURL(packagePath('h5wasm', 'dist/node/hdf5_hl.js')).href;
    const plugins = packagePath('h5wasm-plugins', 'plugins');
    // The function comes compiled: what compilers put in place of imports, and the helper by which `tsx` names
    // functions, are not there.
    const code =
      'const __name = (it) => it;' +
      `Promise.all([import('node:worker_threads'), import(${JSON.stringify(library)})])` +
      `.then(([threads, hdf5]) => (${answerCalls.toString()})(threads, hdf5, ${JSON.stringify(plugins)}));`;
    // What the library prints is in its errors, too.
    this.worker = new Worker(code, { eval: true, stderr: true });
    this.worker.stderr.resume();
    this.worker.on('message', ({ id, answer, error, fatal }: Answer) => {
      const waiting = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(error));
      if (fatal === true) this.end();
    });
    this.worker.on('error', (error) => this.end(error));
    this.worker.on('exit', () => this.end());
    // Behind the listeners: one for messages keeps the process alive again.
    this.worker.unref();
  }

  /** Throws what HDF5 says, or that it does not answer. */
  async call<N extends CallName>(name: N, ask: Calls[N]['ask']): Promise<Calls[N]['answer']> {
    if (this.dead) throw new ThreadEnded();
    const id = this.asked++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Calls[N]['answer']>((resolve, reject) => {
        this.waiting.set(id, { resolve, reject });
        timer = setTimeout(() => {
          this.end(new Error(`HDF5 gave no answer for ${patienceMs() / 1e3} s`));
        }, patienceMs());
        this.worker.postMessage({ id, name, ask });
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param error of the call that is being answered, the first of those that wait. */
  private end(error: Error = new ThreadEnded()): void {
    this.dead = true;
    const [first, ...others] = this.waiting.values();
    this.waiting.clear();
    first?.reject(error);
    for (const { reject } of others) reject(new ThreadEnded());
    void this.worker.terminate();
  }
}

/**
 * A file or folder of an installed package, which need not export it (nor be resolvable for CommonJS). The thread has no
 * place of its own that it could import packages from.
 */
function packagePath(name: string, inside: string): string {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  const folder = folders.find((one) => existsSync(join(one, name, 'package.json')));
  if (folder === undefined) throw new Error(`the package ${name} is not installed`);
  return join(folder, name, inside);
}

let thread: Hdf5Thread | undefined;

async function openInThread(path: string): Promise<{ thread: Hdf5Thread; file: number }> {
  for (let tries = 0; ; tries++) {
    if (thread === undefined || thread.dead) thread = new Hdf5Thread();
    const opening = thread;
    try {
      return { thread: opening, file: await opening.call('open', { path }) };
    } catch (error) {
      if (!(error instanceof ThreadEnded) || tries >= maxReopenings) throw error;
    }
  }
}

/** How often a file is opened again after another one has brought down the thread. */
const maxReopenings = 3;

/** An HDF5 file that is open for reading. */
export class Hdf5File {
  private reopenings = 0;

  private constructor(
    private readonly path: string,
    private thread: Hdf5Thread,
    private file: number,
  ) {}

  static async open(path: string): Promise<Hdf5File> {
    const opened = await openInThread(path);
    return new Hdf5File(path, opened.thread, opened.file);
  }

  private async call<N extends CallName>(
    name: N,
    ask: Omit<Calls[N]['ask'], 'file'>,
  ): Promise<Calls[N]['answer']> {
    for (;;) {
      try {
        return await this.thread.call(name, { ...ask, file: this.file } as Calls[N]['ask']);
      } catch (error) {
        if (!(error instanceof ThreadEnded) || this.reopenings++ >= maxReopenings) throw error;
        ({ thread: this.thread, file: this.file } = await openInThread(this.path));
      }
    }
  }

  list(): Promise<{ paths: string[]; datasets: [string, Hdf5Dataset][] }> {
    return this.call('list', {});
  }

  /** A text attribute of the root, or of another object. */
  attribute(name: string, path = '/'): Promise<string | undefined> {
    return this.call('attribute', { path, name });
  }

  /** The bytes of a block of a dataset, `counts` elements from `offsets` on in each dimension; `length` bytes in all. */
  async read(path: string, counts: number[], offsets: number[], length: number): Promise<DataView> {
    const bytes = await this.call('read', { path, counts, offsets, length });
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  async close(): Promise<void> {
    await this.thread.call('close', { file: this.file }).catch(() => undefined);
  }
}

/** Runs in the thread, so it refers to nothing outside itself. */
async function answerCalls(
  { parentPort }: typeof import('node:worker_threads'),
  { File, ready }: typeof import('h5wasm/node'),
  plugins: string,
): Promise<void> {
  const module = await ready;
  module.activate_throwing_error_handler();
  module.insert_plugin_search_path(plugins, 0);
  const files = new Map<number, InstanceType<typeof File>>();
  let opened = 0;
  const answers: { [N in CallName]: (ask: Calls[N]['ask']) => Calls[N]['answer'] } = {
    open({ path }) {
      files.set(++opened, new File(path, 'r'));
      return opened;
    },
    list({ file }) {
      const id = files.get(file)!.file_id;
      const paths = files.get(file)!.paths();
      const datasets = paths
        .map((path) => `/${path.replace(/^\/+/, '')}`)
        .filter((path) => module.get_type(id, path) === module.H5G_DATASET)
        .map((path): [string, Hdf5Dataset] => {
          const metadata = module.get_dataset_metadata(id, path);
          return [path, { metadata, filters: module.get_dataset_filters(id, path) }];
        });
      return { paths, datasets };
    },
    attribute({ file, path, name }) {
      const object = files.get(file)!.get(path);
      if (object === null || !('attrs' in object) || !Object.hasOwn(object.attrs, name)) return;
      return String(object.attrs[name].value);
    },
    read({ file, path, counts, offsets, length }) {
      const pointer = module._malloc(length);
      if (pointer === 0) throw new Error(`no memory for ${length} bytes`);
      try {
        // Scalars have no dimensions.
        const each = (values: readonly number[]): bigint[] | null =>
          values.length === 0 ? null : values.map(BigInt);
        const [count, offset, strides] = [each(counts), each(offsets), each(counts.map(() => 1))];
        const id = files.get(file)!.file_id;
        const status = module.get_dataset_data(id, path, count, offset, strides, BigInt(pointer));
        if (status < 0) throw new Error(`status ${status}`);
        return module.HEAPU8.slice(pointer, pointer + length);
      } finally {
        module._free(pointer);
      }
    },
    close({ file }) {
      files.get(file)?.close();
      files.delete(file);
      return undefined;
    },
  };
  parentPort!.on('message', ({ id, name, ask }: { id: number; name: CallName; ask: never }) => {
    try {
      parentPort!.postMessage({ id, answer: answers[name](ask) });
    } catch (error) {
      parentPort!.postMessage({
        id,
        error: error instanceof Error ? error.message : String(error),
        // Aborted, or out of its memory: what it does from now on cannot be relied on.
        fatal: error instanceof Error && error.name === 'RuntimeError',
      });
    }
  });
}
