import { describe, expect, it } from 'vitest';
import { eventStream } from '../../../ingest/formats/eventStream.js';
import {
  detectFormat,
  formatByExtension,
  formatByName,
  formats,
} from '../../../ingest/formats/index.js';
import { encodeRows } from '../streams.js';

describe('the registry', () => {
  it('has formats of distinct names and extensions', () => {
    const names = formats.map((format) => format.name);
    expect(new Set(names).size).toBe(names.length);
    const extensions = formats.flatMap((format) => format.extensions);
    expect(new Set(extensions).size).toBe(extensions.length);
  });

  it('finds formats by name and by extension', () => {
    for (const format of formats) {
      expect(formatByName(format.name)).toBe(format);
      for (const extension of format.extensions) {
        expect(formatByExtension(`some/where.v2.${extension.toUpperCase()}`)).toBe(format);
      }
    }
  });

  it('lists the known formats where there is none', () => {
    expect(() => formatByName('evt9')).toThrow(
      `"evt9", known are ${formats.map(({ name }) => name).join(', ')}`,
    );
    expect(() => formatByExtension('a/b.mp4')).toThrow(/a\/b\.mp4.*"\.mp4".*\.aedat/);
    expect(() => detectFormat({ head: new Uint8Array([0, 255, 1, 2, 3, 9]) }, 'odd.bin')).toThrow(
      /odd\.bin.*aedat2, /,
    );
    expect(() => detectFormat({ head: new Uint8Array(0) }, 'none')).toThrow(
      /none: the file is empty/,
    );
  });

  it('lets a magic number win over the extension', async () => {
    const sensor = { width: 640, height: 480 };
    const head = await encodeRows(eventStream, sensor, [[1, 2, 3, 1]]);
    expect(detectFormat({ head, fileSize: head.length, extension: 'bin' })).toBe(eventStream);
  });
});
