import { constants, symlink } from 'node:fs';
import { copyFile, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import sqlite from 'node-sqlite3-wasm';
import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch } from '../eventBatch.js';
import {
  type DecodeMark,
  type DecodeOptions,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { bytesOfFile, throughFile } from '../temporaryFile.js';
import { packetVariants } from './ros/eventPacketWriter.js';
import { messageKind } from './ros/messageKind.js';
import { plainType, type RosMessage } from './ros/message.js';
import { decodeRosEvents, rosLimits } from './ros/rosEvents.js';

const magic = 'SQLite format 3\0';
/** Messages per transaction when writing. */
const messagesPerCommit = 64;

/**
 * ROS 2 bag in SQLite (`.db3`) with CDR messages of the types `dvs_msgs/EventArray` or
 * `event_camera_msgs/EventPacket`: see `ros/rosEvents.ts` for the topic that is read. SQLite reads the pages it
 * needs; the file is not loaded whole. Messages come in the order they were stored in.
 *
 * Convention: origin at the upper left, polarity 1 = ON. Times are those of the events (not of the
 * messages), cut to whole µs. Written are `dvs_msgs/msg/EventArray` messages on `/dvs/events`; the `metadata.yaml` that
 * belongs beside it is not (`ros2 bag reindex` makes it).
 *
 * Source: rosbag2_storage_sqlite3 (schema version 4).
 */
export const rosbag2: EventFormat = {
  name: 'db3',
  title: 'ROS 2 bag, SQLite (.db3)',
  extensions: ['db3'],
  holdsSensorSize: true,
  variants: packetVariants,
  usualSensors: [],
  limits: rosLimits,

  detect: ({ head }) => (hasMagic(head) ? 0.9 : 0),

  decode: (bytes, options) =>
    throughFile(bytes, options, (path) => rosbag2.decodeFile!(path, options)),

  decodeFile: (path, options) => decodeRosEvents((from) => readBag(path, options, from), options),

  encode: (batches, options) => bytesOfFile((path) => writeBag(path, batches, options)),
};

function hasMagic(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(0, magic.length)).toString('latin1') === magic;
}

/**
 * Opens a database that is only read. The library takes its lock as a folder beside the file, which
 * must not be left where recordings lie (nor can it be made on read-only disks): it goes beside a link.
 * Files in WAL mode, which it cannot open, are copied and put into the usual mode. So are files that end inside a page,
 * without that page: the library would read zeros for the rest of it.
 *
 * @returns also where the whole pages of a file end that was cut off.
 */
async function openDatabase(
  path: string,
): Promise<{ database: sqlite.Database; close: () => Promise<void>; cutAt?: number }> {
  const head = Buffer.alloc(20);
  const file = await open(path, 'r');
  const { size } = await file.stat();
  await file.read(head, 0, head.length).finally(() => file.close());
  if (!hasMagic(head)) throw new RangeError('expected it to begin with "SQLite format 3"');
  // 1 stands for 65,536.
  const pageLength = head.readUInt16BE(16) === 1 ? 65_536 : head.readUInt16BE(16);
  const isPower = pageLength >= 512 && (pageLength & (pageLength - 1)) === 0;
  const cutAt = isPower && size % pageLength > 0 ? size - (size % pageLength) : undefined;
  const isWal = head[18] === 2 || head[19] === 2;
  const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  const removeFolder = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const link = join(folder, 'bag.db3');
    if (isWal || cutAt !== undefined) {
      await copyFile(path, link, constants.COPYFILE_FICLONE);
      const copy = await open(link, 'r+');
      try {
        if (isWal) await copy.write(Uint8Array.of(1, 1), 0, 2, 18);
        if (cutAt !== undefined) await copy.truncate(cutAt);
      } finally {
        await copy.close();
      }
    } else {
      await promisify(symlink)(resolve(path), link);
    }
    const database = new sqlite.Database(link, { readOnly: true });
    // Nobody else uses the link: one lock for all. Otherwise a file that was cut off is not read at all.
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA writable_schema = ON');
    const close = async (): Promise<void> => {
      database.close();
      await removeFolder();
    };
    return { database, close, cutAt };
  } catch (error) {
    await removeFolder();
    throw error;
  }
}

/** A mark is the number of a message. */
async function* readBag(
  path: string,
  { file, report }: DecodeOptions,
  from?: DecodeMark,
): AsyncGenerator<RosMessage> {
  const fail = (error: unknown): SaccadeError => {
    const reason = error instanceof Error ? error.message : String(error);
    return new SaccadeError('input', `not a ROS 2 bag: ${reason}`, { file, offset: 0 }, error);
  };
  const { database, close, cutAt } = await openDatabase(path).catch((error: unknown) => {
    throw fail(error);
  });
  if (cutAt !== undefined) reportDamage(report, cutAt, 'ends inside a page, which is left out');
  try {
    const topics = new Map<number, { topic: string; type: string }>();
    try {
      for (const row of database.all('SELECT id, name, type FROM topics')) {
        topics.set(Number(row.id), { topic: String(row.name), type: plainType(String(row.type)) });
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!/malformed|I\/O/.test(reason)) throw fail(error);
      reportDamage(report, 0, `the list of topics cannot be read: ${reason}`);
      return;
    }
    let last = 0;
    try {
      const statement = database.prepare(
        'SELECT id, topic_id, data FROM messages WHERE id >= ? ORDER BY id',
      );
      try {
        for (const row of statement.iterate(from?.offset ?? Number.MIN_SAFE_INTEGER)) {
          last = Number(row.id);
          const topic = topics.get(Number(row.topic_id));
          if (topic === undefined || !(row.data instanceof Uint8Array)) {
            reportDamage(report, 0, `message ${last} is of no known topic or has no data`);
          } else {
            const place = `message ${last}`;
            const mark = { offset: last, state: [] };
            yield { ...topic, serialization: 'cdr', data: row.data, offset: 0, place, mark };
          }
        }
      } finally {
        statement.finalize();
      }
    } catch (error) {
      if (error instanceof SaccadeError || !(error instanceof Error)) throw error;
      reportDamage(report, 0, `cannot be read behind message ${last}: ${error.message}`);
    }
  } finally {
    await close();
  }
}

const tables = `
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
INSERT INTO schema VALUES (4, 'unknown');
`;

async function writeBag(
  path: string,
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): Promise<void> {
  const database = new sqlite.Database(path);
  try {
    database.exec(tables);
    const { name, definition, messages } = messageKind(options, 2);
    database.run("INSERT INTO topics VALUES (1, '/dvs/events', ?, 'cdr', '', '')", [name]);
    database.run("INSERT INTO message_definitions VALUES (1, ?, 'ros2msg', ?, '')", [
      name,
      definition,
    ]);
    const insert = database.prepare('INSERT INTO messages VALUES (NULL, 1, ?, ?)');
    let pending = 0;
    database.exec('BEGIN');
    for await (const { timeNs, data } of messages(batches, options)) {
      insert.run([timeNs, data]);
      if (++pending % messagesPerCommit === 0) database.exec('COMMIT; BEGIN');
    }
    database.exec('COMMIT');
    insert.finalize();
  } finally {
    database.close();
  }
}
