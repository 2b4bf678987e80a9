import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { classificationReport } from '../../../models/evaluation/report.js';
import type { JobClient, JobSummary } from '../../../workers/queue/client.js';
import { writeDescription } from '../../../workers/runs.js';
import type { Service } from '../../../workers/service/server.js';
import { classes, modelHere, serviceOf, writeFreshModel } from '../service/testService.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';
import { browserInstalled, complaintsOf, isDrawn, startBrowser } from './browser.js';

const token = 'a token of the test'.replaceAll(' ', '-');
const confusion = [
  [3, 1],
  [0, 4],
];

describe.skipIf(!browserInstalled)('the page of the real service', () => {
  let browser: Browser;
  let service: Service;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-page-'));
    const recordings = join(folder, 'recordings');
    await writeTinySet(recordings, 1);
    await rename(join(recordings, 'left', '0.es'), join(recordings, 'left', '<b>bold.es'));
    await writeRun(join(folder, 'runs', 'first'));
    const model = await modelHere(await writeFreshModel(folder));
    service = await serviceOf(model, {
      token,
      replayFolder: recordings,
      runsFolder: join(folder, 'runs'),
      pageFolder: 'workers/dashboard/page',
      queues: { kind: 'embedded', client: jobsInMemory() },
    });
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await service?.close();
    if (folder !== undefined) await rm(folder, { recursive: true });
  });

  it('takes the token, replays a recording, shows its run and its jobs', async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(20_000);
    const complaints = complaintsOf(page);
    await page.goto(service.url);
    const field = page.getByRole('textbox', { name: 'Token' });
    await field.fill('another-token-that-is-wrong');
    await field.press('Enter');
    await page.getByText('did not accept this token').waitFor();
    await field.fill(token);
    await field.press('Enter');

    await page.getByText('No stream is running.').waitFor();
    const recording = page.getByRole('combobox', { name: 'Recording' });
    expect(await recording.locator('option').allInnerTexts()).toEqual([
      'left/<b>bold.es',
      'right/0.es',
    ]);
    await page.getByRole('checkbox', { name: 'loop' }).check();
    await page.getByRole('button', { name: 'Replay' }).click();
    // So many bins come only if the recording begins again and again.
    await page.waitForFunction(
      () => Number(document.querySelector('#bin')!.textContent!.replace(',', '')) > 20,
    );
    expect(classes).toContain(await page.locator('#prediction').innerText());
    const shares = await page.locator('#classes .share').allInnerTexts();
    expect(Math.abs(shares.reduce((sum, share) => sum + parseFloat(share), 0) - 100)).toBeLessThan(
      2,
    );
    expect(await isDrawn(page, '#picture, #probabilities canvas, #latency canvas')).toBe(true);
    const layers = await page.locator('#strips .name').allInnerTexts();
    expect(layers.length).toBeGreaterThan(0);
    expect(await page.locator('#strips .rate').allInnerTexts()).toEqual(
      layers.map(() => expect.stringMatching(/^\d+\.\d %$/)),
    );
    await page.getByRole('button', { name: 'End stream' }).click();
    await page.getByText(/^left\/<b>bold\.es has ended \(ended on request\): \d+ bins/).waitFor();

    await page.getByRole('tab', { name: 'Runs' }).click();
    await page.getByRole('heading', { name: 'On the test part: 87.5 %' }).waitFor();
    const cells = page.locator('.confusion tbody td');
    expect((await cells.allInnerTexts()).map(Number)).toEqual(confusion.flat());
    expect(await isDrawn(page, '#run .chart canvas')).toBe(true);

    await page.getByRole('tab', { name: 'Queues' }).click();
    await page.getByText('train 3 of 9, epoch 1').waitFor();
    await page.getByText('Details').click();
    await page.getByText('a warning\n<b>another').waitFor();
    await page.getByRole('button', { name: 'Cancel train-1' }).click();
    await page.getByText('train-1: stopping').waitFor();
    await page.getByRole('button', { name: 'Retry train-1' }).click();
    await page.getByText('train-1: back in its queue').waitFor();
    expect(await page.locator('#counts tbody tr', { hasText: 'waiting' }).innerText()).toMatch(
      /waiting\s+0\s+1\s+0\s+0/,
    );
    expect(complaints).toEqual([]);
  });

  it('is sent whole, with a policy, and nothing beside it', async () => {
    const page = await fetch(service.url);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(await page.text()).not.toMatch(/<script>|<style|style=|https?:/);
    const again = await fetch(service.url, {
      headers: { 'if-none-match': page.headers.get('etag')! },
    });
    expect(again.status).toBe(304);
    for (const path of ['tsconfig.json', 'vendor/uPlot.d.ts', '../files.ts', '%2e%2e/files.ts']) {
      expect((await fetch(`${service.url}/${path}`)).status, path).toBe(404);
    }
  });
});

/** What training and evaluation leave in a run folder. */
async function writeRun(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeDescription(folder, {
    experiment: tinyExperiment('recordings'),
    classes,
    synthetic: true,
  });
  const epochs = [1, 2, 3].map((epoch) => ({
    epoch,
    step: 4 * epoch,
    trainingLoss: 1 / epoch,
    validationLoss: 1.1 / epoch,
    validationAccuracy: epoch / 4,
    learningRate: 0.01,
    gradientNorm: 1,
    firingRates: {},
  }));
  await writeFile(
    join(folder, 'metrics.jsonl'),
    epochs.map((epoch) => `${JSON.stringify(epoch)}\n`).join(''),
  );
  await writeFile(join(folder, 'last.safetensors'), '');
  await writeFile(
    join(folder, 'evaluation-test.json'),
    JSON.stringify({
      part: 'test',
      looks: 1,
      selected: { ...classificationReport(confusion, classes), loss: 0.4 },
    }),
  );
}

/** Queues with one job. Those of BullMQ have tests of their own. */
function jobsInMemory(): JobClient {
  let job: JobSummary = {
    id: 'train-1',
    queue: 'train',
    kind: 'train',
    state: 'active',
    data: {},
    progress: { phase: 'train', done: 3, total: 9, info: 'epoch 1' },
    attempts: 0,
    cancelled: false,
    submittedMs: Date.now(),
  };
  const none = { active: 0, waiting: 0, blocked: 0, delayed: 0, done: 0, dead: 0 };
  return {
    submit: () => Promise.reject(new Error('not asked for')),
    job: () => Promise.resolve(job),
    list: () => Promise.resolve([job]),
    counts: () =>
      Promise.resolve({
        ingest: none,
        train: { ...none, [job.state]: 1 },
        evaluate: none,
        infer: none,
      }),
    logs: () => Promise.resolve(['a warning', '<b>another']),
    cancel() {
      job = { ...job, state: 'dead', cancelled: true };
      return Promise.resolve('stopping');
    },
    retry() {
      job = { ...job, state: 'waiting', cancelled: false, progress: undefined };
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}
