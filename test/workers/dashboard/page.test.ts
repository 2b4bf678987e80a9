import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { JobMessage } from '../../../workers/service/messages.js';
import {
  browserInstalled,
  complaintsOf,
  isDrawn,
  overflow,
  shownTexts,
  startBrowser,
} from './browser.js';
import { exampleRun, type FakeOptions, type FakeService, startFakeService } from './fakeService.js';

const views = ['live', 'runs', 'queues'] as const;
const phone = { width: 360, height: 740 };

describe.skipIf(!browserInstalled)('the page', () => {
  let browser: Browser;
  const ends: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser?.close());
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  /** The page of a service that is made up, and what the browser complains of. */
  async function open(
    hash: string,
    service: FakeOptions = {},
    options: BrowserContextOptions = {},
  ): Promise<{ page: Page; fake: FakeService; complaints: string[] }> {
    const fake = await startFakeService(service);
    ends.push(fake.close);
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      // Each picture is the last one: what a test sees does not depend on how fast pictures follow.
      reducedMotion: 'reduce',
      ...options,
    });
    ends.push(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const complaints = complaintsOf(page);
    await page.goto(`${fake.url}#${hash}`);
    return { page, fake, complaints };
  }

  /** Waits until the view has what it shows. */
  async function settled(page: Page, view: (typeof views)[number]): Promise<void> {
    const content = { live: '#confidence', runs: '.evaluation', queues: '#jobs > li' }[view];
    await page.locator(content).first().waitFor();
    if (view === 'live') await page.locator('#losses:not(:empty)').waitFor();
  }

  const textOf = (page: Page, selector: string): Promise<string> =>
    page.locator(selector).innerText();

  const groundOf = (page: Page): Promise<string> =>
    page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);

  describe('a running stream', () => {
    it('shows what comes: events, classes, spikes, rates, latency', async () => {
      const { page, complaints } = await open('live');
      await settled(page, 'live');
      const before = Number(await textOf(page, '#bin'));
      await page.waitForFunction(
        (bin) => Number(document.querySelector('#bin')!.textContent) > bin,
        before,
      );
      expect(await isDrawn(page, '#picture, .strips canvas')).toBe(true);
      expect(await isDrawn(page, '#probabilities canvas, #rates canvas, #latency canvas')).toBe(
        true,
      );
      expect(await textOf(page, '#events')).toBe('940');
      expect(await textOf(page, '#latency-note')).toMatch(/half within [\d.]+ ms, 99 % within/);
      expect(await page.locator('#strips .rate').allInnerTexts()).toEqual(
        Array(5).fill(expect.stringMatching(/^\d+\.\d %$/)),
      );

      const shares = await page.locator('#classes .share').allInnerTexts();
      const prediction = await textOf(page, '#prediction');
      expect(shares).toHaveLength(8);
      expect(await textOf(page, '#classes [aria-current] .name')).toBe(prediction);
      expect(Math.max(...shares.map(parseFloat))).toBe(
        parseFloat(await textOf(page, '#classes [aria-current] .share')),
      );
      expect(await page.locator('[aria-live=polite]#announcement').innerText()).toMatch(
        new RegExp(`^\\w+, \\d+ %$`),
      );
      expect(await textOf(page, '#losses')).toBe('12 events came too late');
      expect(complaints).toEqual([]);
    });

    it('stands still while it is held', async () => {
      const { page } = await open('live');
      await settled(page, 'live');
      const hold = page.getByRole('button', { name: 'Hold' });
      await hold.click();
      expect(await hold.getAttribute('aria-pressed')).toBe('true');
      // A last picture comes, then none for some more.
      await page.waitForTimeout(1100);
      const held = await textOf(page, '#bin');
      await page.waitForTimeout(1500);
      expect(await textOf(page, '#bin')).toBe(held);
      await hold.click();
      await page.waitForFunction(
        (bin) => document.querySelector('#bin')!.textContent !== bin,
        held,
      );
    });

    it('says that the connection is broken, and connects again', async () => {
      const { page, fake } = await open('live');
      await settled(page, 'live');
      const states = await page.evaluateHandle(() => {
        const seen: string[] = [];
        const state = document.querySelector('#stream-state')!;
        new MutationObserver(() => seen.push(state.textContent!)).observe(state, {
          childList: true,
        });
        return seen;
      });
      fake.breakConnections();
      await page.waitForFunction((seen) => seen.at(-1) === 'live' && seen.length > 1, states);
      expect(await states.jsonValue()).toEqual([
        expect.stringMatching(/^broken, again in \d+ s$/),
        'connecting',
        'live',
      ]);
    });

    it('is started from a recording, and ended', async () => {
      const recording = 'hand_clap/subject02_1.es';
      const { page, fake } = await open('live', { streaming: false });
      await page.getByText('No stream is running.').waitFor();
      await page.getByRole('combobox', { name: 'Recording' }).selectOption(recording);
      await page.getByRole('button', { name: 'Replay' }).click();
      await settled(page, 'live');
      expect(fake.requests).toContain('POST /api/streams');
      expect(await textOf(page, '#stream option:checked')).toBe(`${recording} · s1`);
      expect(page.url()).toMatch(/#live\/s1$/);

      await page.getByRole('button', { name: 'End stream' }).click();
      await page.getByText('s1 has ended: 128 bins, 120,000 events').waitFor();
      expect(fake.requests).toContain('DELETE /api/streams/s1');
      expect(await textOf(page, '#stream-state')).toBe('ended');
    });
  });

  describe('runs', () => {
    it('have curves, their values, and a confusion matrix', async () => {
      const run = exampleRun('first', 6, 3);
      const { page, complaints } = await open('runs', { runs: [run] });
      await settled(page, 'runs');
      expect(await isDrawn(page, '#run .chart canvas')).toBe(true);
      expect(await page.locator('#run .chart').count()).toBe(2);

      await page.getByText('Values by epoch').click();
      const rows = await page
        .getByRole('region', { name: 'Values by epoch' })
        .locator('tbody tr')
        .evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
      expect(rows.map((row) => row.slice(0, 3))).toEqual(
        run.history.map(({ epoch, trainingLoss, validationLoss }) => [
          String(epoch),
          trainingLoss.toFixed(3),
          validationLoss!.toFixed(3),
        ]),
      );
      const cells = await page
        .locator('.confusion tbody tr')
        .evaluateAll((all) =>
          all.map((row) => [...row.querySelectorAll('td')].map((cell) => Number(cell.innerText))),
        );
      expect(cells).toEqual(run.evaluations[0].confusion);
      expect(await page.locator('.confusion tbody th').allInnerTexts()).toEqual(run.classes);
      expect(complaints).toEqual([]);
    });

    it('are chosen by their address, and compared', async () => {
      const { page } = await open('runs', {
        runs: [exampleRun('a/b', 4, 1), exampleRun('other', 3, 2)],
      });
      await settled(page, 'runs');
      await page.getByRole('link', { name: 'other' }).click();
      await page.getByRole('heading', { name: 'other' }).waitFor();
      expect(page.url()).toMatch(/#runs\/other$/);
      expect(await textOf(page, '#run-list [aria-current] b')).toBe('other');

      const compare = page.getByLabel('Compare with');
      await compare.focus();
      await compare.selectOption('a/b');
      await page.getByText('training, a/b').waitFor();
      expect(await page.locator('.legend.lines .dashed').allInnerTexts()).toEqual([
        'training, a/b',
        'validation, a/b',
        'a/b',
      ]);
      expect(await page.evaluate(() => document.activeElement!.id)).toBe('compare');
    });
  });

  describe('queues', () => {
    it('are counted, and their jobs have progress and reasons', async () => {
      const { page, complaints } = await open('queues');
      await settled(page, 'queues');
      const active = page.locator('#counts tbody tr', { hasText: 'active' });
      expect(await active.locator('td').allInnerTexts()).toEqual(['1', '1', '0', '0']);
      await page.getByText('train 214 of 360, epoch 12, loss 0.641').waitFor();
      await page.getByText('walk.aedat, offset 18,220: expected an event').waitFor();
      expect(complaints).toEqual([]);
    });

    it('give up jobs and try them again, with keys alone', async () => {
      const { page, fake } = await open('queues');
      await settled(page, 'queues');
      const cancel = page.getByRole('button', { name: /Cancel train-/ });
      const id = (await cancel.getAttribute('aria-label'))!.split(' ')[1];
      await cancel.focus();
      await page.keyboard.press('Enter');
      const job = page.locator('#jobs > li', { hasText: id });
      await job.getByText('cancelled').waitFor();
      expect(fake.requests).toContain(`POST /api/jobs/${id}/cancel`);
      await page.getByText(`${id}: stopping`).waitFor();
      // The button is gone; the focus is still in the row.
      await page.waitForFunction(() => document.activeElement?.tagName === 'SUMMARY');

      await page.getByRole('button', { name: `Retry ${id}` }).press('Enter');
      await page.getByText(`${id}: back in its queue`).waitFor();
      expect(fake.requests).toContain(`POST /api/jobs/${id}/retry`);
      await job.getByText('waiting').waitFor();
    });
  });

  describe('keys', () => {
    it('lead past the header, from tab to tab, and through what can be pressed', async () => {
      const { page } = await open('live');
      await settled(page, 'live');
      await page.keyboard.press('Tab');
      expect(await page.evaluate(() => document.activeElement!.textContent)).toBe(
        'Skip to content',
      );
      await page.keyboard.press('Enter');
      expect(await page.evaluate(() => document.activeElement!.id)).toBe('main');
      await page.keyboard.press('Tab');
      expect(await page.evaluate(() => document.activeElement!.id)).toBe('stream');

      await page.locator('[role=tab][aria-selected=true]').focus();
      for (const [key, selected] of [
        ['ArrowRight', 'runs'],
        ['ArrowRight', 'queues'],
        ['ArrowRight', 'live'],
        ['End', 'queues'],
        ['ArrowLeft', 'runs'],
        ['Home', 'live'],
      ]) {
        await page.keyboard.press(key);
        await page.waitForFunction(
          (view) => !document.getElementById(`view-${view}`)!.hidden,
          selected,
        );
        expect(await page.locator('[role=tabpanel]:visible').count()).toBe(1);
        const tabs = await page
          .locator('[role=tab]')
          .evaluateAll((all) =>
            all
              .filter((tab) => (tab as HTMLElement).tabIndex === 0)
              .map((tab) => [tab.id, tab.ariaSelected, document.activeElement === tab]),
          );
        expect(tabs).toEqual([[`tab-${selected}`, 'true', true]]);
      }
    });

    it.each(views)('show where they are, in order, without a trap: %s', async (view) => {
      const { page } = await open(view);
      await settled(page, view);
      await page.evaluate(() => (document.activeElement as HTMLElement).blur());
      const stops: string[] = [];
      for (;;) {
        await page.keyboard.press('Tab');
        const stop = await page.evaluate(() => {
          const element = document.activeElement as HTMLElement;
          // A transparent radio button shows its focus beside it.
          const marked = element.matches('#theme input') ? element.nextElementSibling! : element;
          const { outlineStyle, outlineWidth } = getComputedStyle(marked);
          return {
            name: element.id || element.ariaLabel || element.textContent!.slice(0, 40),
            body: element === document.body,
            visible: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2,
          };
        });
        if (stop.body) break;
        expect(stop, stop.name).toMatchObject({ visible: true });
        stops.push(stop.name);
        expect(stops.length).toBeLessThan(80);
      }
      expect(stops.slice(0, 2)).toEqual(['Skip to content', `tab-${view}`]);
      const expected = {
        live: ['stream', 'hold', 'stop', 'recording', 'speed', 'loop', 'start', 'smoothed'],
        runs: ['compare', 'Confusion matrix', 'By class'],
        queues: ['job-state'],
      }[view];
      expect(stops.filter((name) => expected.includes(name))).toEqual(expected);
    });
  });

  it.each(views)('can be read, light and dark, and fits a phone: %s', async (view) => {
    const { page } = await open(view);
    await settled(page, view);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      // It is the theme that was asked for.
      expect(await groundOf(page)).toBe(
        colorScheme === 'light' ? 'rgb(243, 245, 247)' : 'rgb(13, 17, 21)',
      );
      const texts = await shownTexts(page);
      expect(texts.length).toBeGreaterThan(20);
      expect(texts.filter(({ contrast }) => contrast < 4.5)).toEqual([]);
    }

    await page.setViewportSize(phone);
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    // Charts take their new size with the next frame.
    const outside = () =>
      page.evaluate(() =>
        [...document.querySelectorAll('button, select, input, h2, canvas')]
          .filter((element) => element.checkVisibility() && !element.closest('.scroll, .unseen'))
          .filter((element) => {
            const { left, right } = element.getBoundingClientRect();
            return left < 0 || right > window.innerWidth;
          })
          .map((element) => element.outerHTML.slice(0, 80)),
      );
    await expect.poll(outside).toEqual([]);
  });

  it('keeps the colours that were chosen', async () => {
    const { page } = await open('queues', {}, { colorScheme: 'light' });
    const light = await groundOf(page);
    await page.getByRole('radio', { name: 'Dark' }).check({ force: true });
    const dark = await groundOf(page);
    expect(dark).not.toBe(light);
    await page.reload();
    expect(await groundOf(page)).toBe(dark);
    await page.getByRole('radio', { name: 'Auto' }).check({ force: true });
    expect(await groundOf(page)).toBe(light);
  });

  it('moves nothing for people who want no motion', async () => {
    const durations = async (reducedMotion: 'reduce' | 'no-preference'): Promise<string[]> => {
      const { page } = await open('queues', {}, { reducedMotion });
      return page.evaluate(() => [
        ...new Set(
          [...document.querySelectorAll('*')].flatMap((element) => {
            const { transitionDuration, animationDuration } = getComputedStyle(element);
            return [...transitionDuration.split(', '), ...animationDuration.split(', ')];
          }),
        ),
      ]);
    };
    expect(await durations('reduce')).toEqual(['0s']);
    expect(await durations('no-preference')).toContain('0.12s');
  });

  it('shows hostile names as text', async () => {
    const hostile = (name: string): string =>
      `<img src=x onerror="document.title='hacked'"><script>hacked=1</script>${name}&amp;"'\``;
    const classes = ['a', 'b', 'c'].map(hostile);
    const job: JobMessage = {
      id: hostile('job'),
      queue: 'train',
      kind: 'train',
      state: 'dead',
      data: { folder: hostile('data') },
      progress: { phase: hostile('phase'), done: 1, total: 2, info: hostile('info') },
      attempts: 1,
      reason: hostile('reason'),
      result: { file: hostile('result') },
      cancelled: false,
      submittedMs: 0,
      startedMs: null,
      endedMs: null,
    };
    const run = exampleRun(hostile('run'), 3, 1, classes);
    const { page, complaints } = await open('live', {
      classes,
      recordings: [hostile('recording')],
      runs: [run],
      jobs: [job],
    });
    await settled(page, 'live');
    expect(await page.locator('#classes .name').allInnerTexts()).toEqual(classes);
    expect(classes).toContain(await textOf(page, '#prediction'));
    expect(await textOf(page, '#recording option')).toBe(hostile('recording'));
    await page.getByRole('tab', { name: 'Runs' }).click();
    await settled(page, 'runs');
    expect(await textOf(page, '#run-title')).toBe(run.id);
    expect(await page.locator('.confusion tbody th').allInnerTexts()).toEqual(classes);
    await page.getByRole('tab', { name: 'Queues' }).click();
    await settled(page, 'queues');
    expect(await textOf(page, '#jobs code')).toBe(job.id);
    expect(await textOf(page, '#jobs .failure')).toBe(job.reason);

    expect(await page.locator('img, main script').count()).toBe(0);
    expect(await page.title()).toBe('Queues · Saccade');
    expect(complaints).toEqual([]);
  });

  it('asks for a token where the service wants one, until it is right', async () => {
    const { page } = await open('runs', { token: 'right' });
    const field = page.getByRole('textbox', { name: 'Token' });
    await field.fill('wrong');
    await page.keyboard.press('Enter');
    await page.getByText('did not accept this token').waitFor();
    await field.fill('right');
    await page.keyboard.press('Enter');
    await settled(page, 'runs');
    // Not in addresses, where it would be kept and shown.
    expect(page.url()).not.toContain('right');
    await page.getByRole('tab', { name: 'Live' }).click();
    await settled(page, 'live');
  });

  it('says that there is nothing yet', async () => {
    const { page } = await open('live', {
      streaming: false,
      recordings: [],
      runs: [],
      jobs: [],
    });
    await page.getByText('No stream is running.').waitFor();
    expect(await page.getByRole('button', { name: 'Replay' }).isDisabled()).toBe(true);
    await page.getByRole('tab', { name: 'Runs' }).click();
    await page.getByText('No runs yet').waitFor();
    await page.getByRole('tab', { name: 'Queues' }).click();
    await page.getByText('No jobs.').waitFor();
  });

  it('tells errors, and goes on when they are over', async () => {
    const { page, fake } = await open('queues');
    await settled(page, 'queues');
    fake.failWith(503);
    await page
      .locator('#queues-notice[data-kind=error]', { hasText: 'made to fail, 503' })
      .waitFor();
    fake.failWith();
    await page.locator('#queues-notice').waitFor({ state: 'hidden' });
    await fake.close();
    ends.splice(0, 1);
    await page.locator('#queues-notice', { hasText: 'does not answer' }).waitFor();
    expect(await textOf(page, '#service-state')).toBe('no answer, trying again');
  });

  it('loads nothing from elsewhere', async () => {
    const { page, fake } = await open('queues');
    const urls: string[] = [];
    page.on('request', (request) => urls.push(request.url()));
    await page.reload();
    await page.getByRole('tab', { name: 'Live' }).click();
    await settled(page, 'live');
    expect(urls.filter((url) => !url.startsWith(fake.url))).toEqual([]);
    expect(urls).toContain(`${fake.url}vendor/uPlot.js`);
  });
});
