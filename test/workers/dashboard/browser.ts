import { existsSync } from 'node:fs';

import { type Browser, chromium, type Page } from 'playwright-core';

const executablePath = [
  process.env.CHROMIUM ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path !== '' && existsSync(path));

/** Whether this machine has a browser to look at the page with; `CHROMIUM` names another one. */
export const browserInstalled = executablePath !== undefined;

if (!browserInstalled) console.warn('no Chromium is installed: the tests of the page are skipped');

export function startBrowser(): Promise<Browser> {
  // Its sandbox needs rights that containers do not give.
  return chromium.launch({ executablePath, args: ['--no-sandbox'] });
}

/** Sentences that the browser complains with: errors of scripts, what the policy of contents has refused. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('console', (message) => {
    // Answers that say that something failed are told by the page.
    const answered = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !answered) complaints.push(message.text());
  });
  return complaints;
}

export interface ShownText {
  readonly text: string;
  /** Of the text on what is behind it, 1 … 21 (WCAG 2.2, "contrast ratio"). */
  readonly contrast: number;
}

/** All text that is shown and not of something disabled, with its contrast. */
export function shownTexts(page: Page): Promise<ShownText[]> {
  return page.evaluate(() => {
    const context = document.createElement('canvas').getContext('2d', {
      willReadFrequently: true,
    })!;
    /** A colour of CSS in whatever notation, over another one, as 0 … 255. */
    const painted = (colour: string, below: readonly number[]): number[] => {
      context.fillStyle = `rgb(${below.join(' ')})`;
      context.fillRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    };
    const behind = (element: Element | null): number[] =>
      element === null
        ? [255, 255, 255]
        : painted(getComputedStyle(element).backgroundColor, behind(element.parentElement));
    const luminance = (colour: readonly number[]): number => {
      const [red, green, blue] = colour.map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const found: { text: string; contrast: number }[] = [];
    for (const element of document.body.querySelectorAll('*')) {
      const text = [...element.childNodes]
        .filter((node) => node.nodeType === Node.TEXT_NODE)
        .map((node) => node.textContent!.trim())
        .join(' ')
        .trim();
      const { width, height } = element.getBoundingClientRect();
      const shown = element.checkVisibility() && width > 1 && height > 1;
      if (text === '' || !shown || element.matches(':disabled, :disabled *, option')) continue;
      const ground = behind(element);
      const ink = painted(getComputedStyle(element).color, ground);
      const [low, high] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
      found.push({ text, contrast: (high + 0.05) / (low + 0.05) });
    }
    return found;
  });
}

/** How many pixels wider than the window the page is. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
}

/** Whether anything is drawn on all canvases that match. */
export function isDrawn(page: Page, selector: string): Promise<boolean> {
  return page.evaluate((selected) => {
    const canvases = [...document.querySelectorAll<HTMLCanvasElement>(selected)];
    const colours = (canvas: HTMLCanvasElement): number =>
      new Set(
        new Uint32Array(
          canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data.buffer,
        ),
      ).size;
    return (
      canvases.length > 0 && canvases.every((canvas) => canvas.width > 0 && colours(canvas) > 1)
    );
  }, selector);
}
