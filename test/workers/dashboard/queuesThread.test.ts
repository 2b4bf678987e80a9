import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { JobClient } from '../../../workers/queue/client.js';
import { trainingFlow } from '../../../workers/queue/flows.js';
import type { Service } from '../../../workers/service/server.js';
import { killNow, openClient, slotsOf, startCli } from '../queue/queueProcess.js';
import { killHosts } from '../queue/stores.js';
import { modelHere, serviceOf, writeFreshModel } from '../service/testService.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';
import { browserInstalled, complaintsOf, isDrawn, startBrowser } from './browser.js';

/** Of a job: as long as it takes on a machine that is busy with other things. */
const patienceMs = 100_000;

describe.skipIf(!browserInstalled)('the page on queues with a worker', () => {
  let folder: string;
  let client: JobClient;
  let service: Service;
  let browser: Browser;
  let page: Page;
  let worker: ChildProcess | undefined;
  let complaints: string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-page-queues-'));
    await writeTinySet(join(folder, 'data'));
    await mkdir(join(folder, 'runs'));
    client = await openClient(folder, {});
    const model = await modelHere(await writeFreshModel(folder));
    service = await serviceOf(model, {
      runsFolder: join(folder, 'runs'),
      pageFolder: 'workers/dashboard/page',
      queues: { kind: 'embedded', client },
    });
    browser = await startBrowser();
    page = await browser.newPage();
    page.setDefaultTimeout(patienceMs);
    complaints = complaintsOf(page);
  });
  afterAll(async () => {
    await browser?.close();
    await service?.close();
    killNow(worker?.pid);
    for (const pid of await slotsOf(folder)) killNow(pid);
    await client?.close();
    killHosts(folder);
    await rm(folder, { recursive: true, force: true });
  });

  const jobRow = (id: string): Locator => page.locator('#jobs > li', { hasText: id });
  const count = (state: string, queue: number): Locator =>
    page.locator('#counts tbody tr', { hasText: state }).locator('td').nth(queue);

  it('shows a flow from its recordings to what came of it, and the run that it made', async () => {
    await page.goto(`${service.url}/#queues`);
    await page.locator('#jobs-empty').waitFor();
    const experiment = tinyExperiment(join(folder, 'data'));
    const run = { folder: join(folder, 'runs/seen'), cacheFolder: join(folder, 'cache') };
    const flow = await trainingFlow(experiment, { ...run, part: 'test', backend: 'wasm' });
    const { id } = await client.submit(flow);
    await jobRow(id).getByText('blocked').waitFor();
    // Nobody is there to do it.
    expect(await count('done', 0).innerText()).toBe('0');

    worker = startCli(['worker', '--lock', '2'], folder, {});
    await jobRow(id).locator('.state', { hasText: 'done' }).waitFor();
    await expect.poll(() => count('done', 2).innerText(), { timeout: patienceMs }).toBe('1');
    const prepared = Number(await count('done', 0).innerText());
    expect(prepared).toBeGreaterThan(10);
    expect(await page.locator('#jobs > li').count()).toBe(prepared + 2);
    for (const state of ['active', 'waiting', 'blocked', 'delayed', 'dead']) {
      for (const queue of [0, 1, 2, 3]) expect(await count(state, queue).innerText()).toBe('0');
    }
    // Its result is that of its kind.
    const { result } = await client.job(id);
    expect(result).toMatchObject({ part: 'test', looks: 1 });
    await jobRow(id).getByText('Details').click();
    const details = await jobRow(id).locator('pre').first().innerText();
    expect((JSON.parse(details) as { result: unknown }).result).toEqual(result);
    expect(await jobRow(id).getByRole('button').count()).toBe(0);
    await snapshot('queues');

    await page.getByRole('tab', { name: 'Runs' }).click();
    await page.getByRole('heading', { name: /^On the test part: / }).waitFor();
    expect(await isDrawn(page, '#run .chart canvas')).toBe(true);
    await snapshot('run');
    expect(complaints).toEqual([]);
  });

  it('shows how far a training is, cancels it, and gives it back', async () => {
    const endless = tinyExperiment(join(folder, 'data'), { training: { epochs: 100_000 } });
    const data = {
      experiment: endless,
      folder: join(folder, 'runs/endless'),
      cacheFolder: join(folder, 'cache'),
      backend: 'wasm',
    };
    const { id } = await client.submit({ kind: 'train', data });
    await page.getByRole('tab', { name: 'Queues' }).click();
    const row = jobRow(id);
    await row.locator('.state', { hasText: 'active' }).waitFor();
    await row.getByText(/^train [\d,]+ of [\d,]+/).waitFor();
    await snapshot('training');
    for (const again of [true, false]) {
      await row.getByRole('button', { name: `Cancel ${id}` }).click();
      await row.locator('.state', { hasText: 'cancelled' }).waitFor();
      await row.locator('.failure').getByText('what can be resumed was saved').waitFor();
      if (!again) break;
      await row.getByRole('button', { name: `Retry ${id}` }).click();
      await row.locator('.state', { hasText: 'active' }).waitFor();
      await row.getByText(/^train [\d,]+ of [\d,]+/).waitFor();
    }
    expect((await client.job(id)).state).toBe('dead');
    expect(complaints).toEqual([]);
  });

  /** A picture of the page, where someone wants to look at it. */
  async function snapshot(name: string): Promise<void> {
    const place = process.env.SACCADE_TEST_PICTURES;
    if (place !== undefined)
      await page.screenshot({ path: join(place, `${name}.png`), fullPage: true });
  }
});
