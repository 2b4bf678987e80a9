import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { describe, expect, it } from 'vitest';

import { loadAddon } from '../../engine/native/addon.js';

let live = true;
try {
  loadAddon();
} catch (error) {
  live = false;
  console.warn(`native backend not built, its tests are skipped: ${(error as Error).message}`);
}

describe.skipIf(!live)("TensorFlow.js's own tests", () => {
  it('pass on native wherever they pass on cpu', { timeout: 600_000 }, () => {
    const script = fileURLToPath(new URL('tfjs.mjs', import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect(`${stdout}${stderr}`).toMatch(/^native: [1-9]\d{3} passed/m);
    expect(status, `${stdout}${stderr}`).toBe(0);
  });
});
