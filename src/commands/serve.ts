import { access } from 'node:fs/promises';
import { once } from 'node:events';
import { resolve } from 'node:path';

import { Option } from 'commander';

import { SaccadeError } from '../../engine/support/errors.js';
import { readText, readTlsFiles, type TlsIdentity } from '../../engine/support/tlsFiles.js';
import type { Listener } from '../../workers/service/tcp.js';
import { backendOption, exitOption } from '../experimentOptions.js';
import { type CommandIo, note, print, type RegisterCommand } from '../io.js';
import { collected, examples, integerBetween, numberBetween, tokenVariable } from '../options.js';
import { packageFile } from '../packageFile.js';
import { openStore, workspaceFolders, workspaceOption } from '../queueOptions.js';
import { packageVersion } from '../version.js';

interface Options {
  readonly host: string;
  readonly port: number;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly allowHost?: readonly string[];
  readonly allowOrigin?: readonly string[];
  readonly tcp?: string;
  readonly udp?: string;
  readonly replay?: string;
  readonly runs?: string;
  readonly snapshots?: string;
  readonly snapshotEvery: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly batch: number;
  readonly batchWait: number;
  readonly closeAfter?: number;
  readonly streams?: number;
  readonly idle?: number;
  readonly queues: boolean;
  readonly workspace?: string;
  readonly exit?: boolean;
  readonly backend?: string;
  readonly json?: boolean;
}

export const registerServe: RegisterCommand = (program, io) => {
  program
    .command('serve')
    .summary('recognise what many streams show, as a service with a page')
    .description(
      'Takes streams of events by WebSocket, TCP and UDP, or replays recordings, and gives a prediction for each ' +
        'time bin. Each stream has its own state; the model runs many at once. The page at the printed address ' +
        'shows streams, runs and queues; /openapi.json describes the interface, /metrics is for Prometheus. Only ' +
        'this machine can connect, unless --host says otherwise, which takes a token. Ctrl-C finishes what is in ' +
        'work and ends. With --json: one line {url, tcpPort, udpPort} once it can be used.',
    )
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder of a causal model')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option(
      '--port <N>',
      'port of the page and interface; 0 = any',
      integerBetween(0, 65_535),
      8080,
    )
    .addOption(
      new Option(
        '--token <text>',
        'what clients must know, 16 characters or more; others on this machine can see ' +
          'it here, so better in the environment',
      ),
    )
    .option('--token-file <file>', 'file that holds the token')
    .option(
      '--allow-host <name>',
      'further name by which the service is called (repeatable)',
      collected,
    )
    .option(
      '--allow-origin <origin>',
      'further origin of pages that may use it (repeatable)',
      collected,
    )
    .option('--tcp <[host:]port[?format=…&sensor=…]>', 'take streams by TCP (default: format=es)')
    .option('--udp <[host:]port[?format=…&sensor=…]>', 'take streams by UDP (default: format=spif)')
    .option('--replay <folder>', 'recordings that may be replayed')
    .option('--runs <folder>', 'folder of run folders to show')
    .option(
      '--snapshots <folder>',
      'where streams leave their state when the service ends or is killed, to go on when it is started again',
    )
    .option(
      '--snapshot-every <s>',
      'with --snapshots: how often they also leave it meanwhile, for the case that the service is killed',
      numberBetween(0.1, 86_400),
      10,
    )
    .option('--tls-cert <file>', 'certificate (PEM): HTTP, WebSockets and TCP are then encrypted')
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--batch <N>', 'streams that are computed at once', integerBetween(1, 1024), 64)
    .option(
      '--batch-wait <ms>',
      'how long a bin waits for those of others',
      numberBetween(0, 1000),
      2,
    )
    .option(
      '--close-after <ms>',
      'close the bin of a live stream so long after its end where no later event comes (default: by events only)',
      numberBetween(0, 3_600_000),
    )
    .option('--streams <N>', 'streams at a time (default: 256)', integerBetween(1, 10_000))
    .option(
      '--idle <s>',
      'silence after which a stream is put aside (default: 300)',
      numberBetween(0.1, 86_400),
    )
    .addOption(exitOption())
    .option('--no-queues', 'do not show the queues of the workspace')
    .addOption(workspaceOption())
    .addOption(backendOption())
    .option('--json', 'print one JSON document a line')
    .addHelpText(
      'after',
      examples(
        ['saccade serve runs/gestures --replay recordings', 'try it: open the printed address'],
        [
          "SACCADE_TOKEN=… saccade serve runs/gestures --host 0.0.0.0 --tcp '0.0.0.0:7777?format=es'",
          'for cameras on other machines',
        ],
        ['saccade serve runs/gestures --exit', 'decides as soon as it is sure (see `calibrate`)'],
      ),
    )
    .action(async (checkpoint: string, options: Options) => serve(io, checkpoint, options));
};

async function serve(io: CommandIo, checkpoint: string, options: Options): Promise<void> {
  const { host, port, replay, runs, batch, batchWait, streams, idle, backend, json } = options;
  for (const folder of [replay, runs]) if (folder !== undefined) await requireFolder(folder);
  const token = await readToken(io, options);
  const tls = await readTls(options);
  const [{ checkAddresses, startService }, { openBatchThread }, { parseWire }, { startTracing }] =
    await Promise.all([
      import('../../workers/service/server.js'),
      import('../../workers/service/batchThread.js'),
      import('../../workers/service/wire.js'),
      import('../../workers/tracing.js'),
    ]);
  const listener = (text: string | undefined, usual: string): Listener | undefined => {
    if (text === undefined) return undefined;
    const { format = usual, sensor, ...place } = parseListener(text);
    return { ...place, wire: parseWire(format, sensor) };
  };
  const addresses = {
    host,
    token,
    tcp: listener(options.tcp, 'es'),
    udp: listener(options.udp, 'spif'),
  };
  checkAddresses(addresses);
  const stopTracing = await startTracing(io.env, 'saccade-serve');
  const model = await openBatchThread({ path: checkpoint, backend });
  const queues = await openQueues(io, options);
  try {
    const { readExit } = await import('../../workers/exit.js');
    const served = { path: model.description.path, model: model.description };
    const service = await startService({
      model,
      exit: options.exit === true ? await readExit(served) : undefined,
      version: packageVersion(),
      ...addresses,
      port,
      allowHosts: options.allowHost,
      allowOrigins: options.allowOrigin,
      replayFolder: replay && resolve(replay),
      runsFolder: runs && resolve(runs),
      snapshotFolder: options.snapshots && resolve(options.snapshots),
      snapshotEveryMs: 1e3 * options.snapshotEvery,
      closeAfterMs: options.closeAfter,
      tls,
      pageFolder: packageFile('workers/dashboard/page'),
      queues: queues && { kind: queues.kind, client: queues.client },
      limits: {
        ...(streams !== undefined && { streams }),
        ...(idle !== undefined && { idleMs: 1e3 * idle }),
      },
      maxBatch: batch,
      batchWaitMs: batchWait,
      onProblem: (message) => note(io, message),
    });
    const { url, tcpPort, udpPort } = service;
    if (json) print(io, JSON.stringify({ url, tcpPort, udpPort }));
    else {
      print(io, url);
      if (tcpPort !== undefined) note(io, `takes streams by TCP at port ${tcpPort}`);
      if (udpPort !== undefined) note(io, `takes streams by UDP at port ${udpPort}`);
    }
    const stopped = io.signal.aborted ? undefined : once(io.signal, 'abort');
    const failure = await Promise.race([stopped?.then(() => undefined), service.failed]);
    await service.close();
    if (failure !== undefined) throw failure as Error;
  } finally {
    await queues?.close();
    await model.close();
    await stopTracing?.();
  }
}

/** `[host:]port[?format=…&sensor=…]`. */
function parseListener(text: string): {
  host: string;
  port: number;
  format: string | undefined;
  sensor: string | undefined;
} {
  const [, host = '127.0.0.1', port, query = ''] =
    /^(?:([^/?]+):)?(\d{1,5})(?:\?(.*))?$/.exec(text) ?? [];
  const given = new URLSearchParams(query);
  const unknown = [...given.keys()].find((name) => name !== 'format' && name !== 'sensor');
  if (port === undefined || Number(port) > 65_535 || unknown !== undefined) {
    const message = `expected [HOST:]PORT[?format=…&sensor=…], got "${text}"`;
    throw new SaccadeError('usage', message);
  }
  return {
    host: host.replace(/^\[|\]$/g, ''),
    port: Number(port),
    format: given.get('format') ?? undefined,
    sensor: given.get('sensor') ?? undefined,
  };
}

async function readToken(
  io: CommandIo,
  { token, tokenFile }: Options,
): Promise<string | undefined> {
  if (tokenFile === undefined) return token ?? (io.env[tokenVariable] || undefined);
  return (await readText(tokenFile, 'the token')).trim();
}

async function readTls({ tlsCert, tlsKey }: Options): Promise<TlsIdentity | undefined> {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new SaccadeError('usage', '--tls-cert and --tls-key belong together');
  }
  return readTlsFiles(tlsCert, tlsKey);
}

async function requireFolder(folder: string): Promise<void> {
  await access(folder).catch(() => {
    throw new SaccadeError('input', 'there is no such folder', { file: folder });
  });
}

/** The queues, where a server is named or the workspace has some: none are made for looking at them. */
async function openQueues(io: CommandIo, { queues, workspace }: Options) {
  if (!queues) return undefined;
  const named = Boolean(io.env.REDIS_URL) || Boolean(io.env.DATABASE_URL);
  const isThere = await access(workspaceFolders(io, workspace).database).then(
    () => true,
    () => false,
  );
  if (!named && !isThere) return undefined;
  const { createJobClient } = await import('../../workers/queue/client.js');
  const store = await openStore(io, workspace);
  const client = createJobClient(store);
  return {
    kind: store.kind,
    client,
    async close() {
      await client.close();
      await store.close();
    },
  };
}
