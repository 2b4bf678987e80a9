import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { get } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';

import type { Service } from '../../../workers/service/server.js';
import { parseWire } from '../../../workers/service/wire.js';
import { dotEvents } from '../tinySet.js';
import { esBytes, modelHere, serviceOf, writeFreshModel } from './testService.js';

let folder: string;
let service: Service;
/** A certificate for localhost and its key, made for this test alone. */
let tls: { cert: string; key: string };

const fixture = (name: string): Promise<string> =>
  readFile(new URL(`./fixtures/${name}`, import.meta.url), 'utf8');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  tls = { cert: await fixture('certificate.pem'), key: await fixture('key.pem') };
  const model = await modelHere(await writeFreshModel(folder));
  const tcp = { host: '127.0.0.1', port: 0, wire: parseWire('es', undefined) };
  service = await serviceOf(model, { tls, tcp });
});

afterAll(async () => {
  await service.close();
  await rm(folder, { recursive: true });
});

describe('an encrypted service', () => {
  it('answers those who trust its certificate, and nobody in the clear', async () => {
    expect(service.url).toMatch(/^https:/);
    const status = await new Promise((resolve, reject) => {
      get(`${service.url}/api/streams`, { ca: tls.cert }, ({ statusCode }) =>
        resolve(statusCode),
      ).on('error', reject);
    });
    expect(status).toBe(200);
    await expect(fetch(service.url.replace('https', 'http'))).rejects.toThrow();
    await expect(fetch(service.url)).rejects.toThrow();
  });

  it('takes streams by WebSocket and by TCP', async () => {
    const bytes = await esBytes(dotEvents(true, 1));
    const socket = new WebSocket(`wss://127.0.0.1:${service.port}/api/streams/safe/events`, {
      ca: tls.cert,
    });
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    for (const chunk of bytes) socket.send(chunk);
    socket.send('end');
    await new Promise((resolve) => socket.once('close', resolve));
    const camera = connectTls({ host: '127.0.0.1', port: service.tcpPort!, ca: tls.cert });
    await new Promise((resolve, reject) =>
      camera.once('secureConnect', resolve).once('error', reject),
    );
    for (const chunk of bytes) camera.write(chunk);
    camera.end();
    const { streams } = service;
    await expect.poll(() => streams.find('tcp-1')?.describe().state).toBe('ended');
    const [one, other] = ['safe', 'tcp-1'].map((id) => streams.get(id).describe());
    expect(one.bins).toBeGreaterThan(0);
    expect([other.bins, other.events]).toEqual([one.bins, one.events]);
  });

  it('does not wait for those who never agree on a key', async () => {
    const silent = connectTcp(service.tcpPort!, '127.0.0.1');
    silent.on('error', () => undefined);
    await new Promise((resolve) => silent.once('connect', resolve));
    const closed = new Promise((resolve) => silent.once('close', resolve));
    await service.close();
    await closed;
  });
});
