import { type FileHandle, open } from 'node:fs/promises';

const signature = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
/** Most bytes of a part of the file's description, and most of these parts: beyond is damage. */
const maxPartLength = 1 << 24;
const maxParts = 1 << 20;

const message = { link: 6, layout: 8, continuation: 16, symbolTable: 17 } as const;

/** A chunk of a dataset as it lies in the file. */
export interface StoredChunk {
  /** Index of its first element. */
  readonly first: number;
  /** Offset in the file, and length, bytes. */
  readonly offset: number;
  readonly length: number;
  /** Bit i: filter i of the dataset was not used for this chunk. */
  readonly unfiltered: number;
  /** Offset in the file of the tree's entry: length (4 bytes), unfiltered (4), first element (16), address (8). */
  readonly entry: number;
}

interface HeaderMessage {
  readonly type: number;
  readonly data: Cursor;
}

/** Reads fields in order; addresses and lengths have the sizes that the file states. */
class Cursor {
  at = 0;

  constructor(
    readonly view: DataView,
    private readonly sizes: { readonly address: number; readonly length: number },
  ) {}

  get left(): number {
    return this.view.byteLength - this.at;
  }

  uint(size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.view.getUint8(this.at + i);
    this.at += size;
    return value;
  }

  address(): number {
    return this.uint(this.sizes.address);
  }

  length(): number {
    return this.uint(this.sizes.length);
  }

  skip(count: number): this {
    this.at += count;
    return this;
  }

  tag(text: string): void {
    const found = Buffer.from(this.view.buffer, this.view.byteOffset + this.at, 4).toString(
      'latin1',
    );
    if (found !== text) throw new RangeError(`expected "${text}" in the description of the file`);
    this.at += 4;
  }

  part(length: number): Cursor {
    const { view, at } = this;
    if (length > this.left) throw new RangeError('a part of a description ends behind it');
    this.at += length;
    return new Cursor(new DataView(view.buffer, view.byteOffset + at, length), this.sizes);
  }
}

/**
 * Where the chunks of a dataset of one dimension lie in an HDF5 file, for filters that the HDF5 library does not have. It
 * knows what the library writes by default: groups with symbol tables or compact links, chunks in a B-tree of version 1.
 *
 * Source: The HDF Group, "HDF5 File Format Specification Version 3.0".
 *
 * @param path names of groups and the dataset, as in `/CD/events`.
 * @returns the chunks by their first element.
 * @throws Error that says what is damaged or not known.
 */
export async function listChunks(file: string, path: string): Promise<StoredChunk[]> {
  const handle = await open(file, 'r');
  try {
    const reader = new ChunkLister(handle, (await handle.stat()).size);
    return await reader.list(path.split('/').filter((name) => name !== ''));
  } finally {
    await handle.close();
  }
}

class ChunkLister {
  private base = 0;
  private sizes = { address: 8, length: 8 };
  private parts = 0;

  constructor(
    private readonly file: FileHandle,
    private readonly size: number,
  ) {}

  async list(names: readonly string[]): Promise<StoredChunk[]> {
    let address = await this.rootHeader();
    for (const name of names) address = await this.member(address, name);
    const layout = (await this.header(address)).find(({ type }) => type === message.layout)?.data;
    if (layout === undefined) throw new RangeError(`${names.join('/')} is no dataset`);
    const version = layout.uint(1);
    if (version !== 3) throw new RangeError(`chunks in a layout of version ${version}, expected 3`);
    if (layout.uint(1) !== 2) throw new RangeError('expected a dataset in chunks');
    if (layout.uint(1) !== 2) throw new RangeError('expected a dataset of one dimension');
    const chunks: StoredChunk[] = [];
    const root = layout.address();
    if (!this.isUndefined(root)) await this.chunksBelow(root, chunks, Infinity);
    return chunks.sort((a, b) => a.first - b.first);
  }

  private isUndefined(address: number): boolean {
    return address >= 2 ** (8 * this.sizes.address) - 1;
  }

  private async read(address: number, length: number): Promise<Cursor> {
    const offset = this.base + address;
    if (++this.parts > maxParts) throw new RangeError('a description without end');
    if (!(length <= maxPartLength && offset + length <= this.size)) {
      throw new RangeError(`${length} bytes at ${offset}, behind the end of the file`);
    }
    const bytes = new Uint8Array(length);
    await this.file.read(bytes, 0, length, offset);
    return new Cursor(new DataView(bytes.buffer), this.sizes);
  }

  private async rootHeader(): Promise<number> {
    let start = 0;
    for (; ; start = start === 0 ? 512 : 2 * start) {
      const cursor = await this.read(start, 8);
      if (signature.every((byte) => cursor.uint(1) === byte)) break;
    }
    const head = (await this.read(start, Math.min(96, this.size - start))).skip(8);
    const version = head.uint(1);
    if (version > 3) throw new RangeError(`HDF5 superblock of version ${version}, expected 0 to 3`);
    if (version < 2) head.skip(4);
    this.sizes.address = head.uint(1);
    this.sizes.length = head.uint(1);
    if (version >= 2) {
      head.skip(1);
      this.base = head.address();
      head.address();
      head.address();
      return head.address();
    }
    head.skip(version === 0 ? 9 : 13);
    this.base = head.address();
    head.skip(3 * this.sizes.address);
    head.address(); // name of the root
    return head.address();
  }

  /** The messages of an object's header, of version 1 or 2. */
  private async header(address: number): Promise<HeaderMessage[]> {
    const first = await this.read(address, 4);
    const messages: HeaderMessage[] = [];
    if (first.uint(1) === 1) {
      const prefix = (await this.read(address, 16)).skip(8);
      await this.messages1(await this.read(address + 16, prefix.uint(4)), messages);
      return messages;
    }
    const prefix = await this.read(address, Math.min(48, this.size - this.base - address));
    prefix.tag('OHDR');
    prefix.skip(1);
    const flags = prefix.uint(1);
    prefix.skip((flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0));
    const length = prefix.uint(1 << (flags & 3));
    const order = flags & 4 ? 2 : 0;
    await this.messages2(await this.read(address + prefix.at, length), order, messages);
    return messages;
  }

  private async messages1(block: Cursor, messages: HeaderMessage[]): Promise<void> {
    while (block.left >= 8) {
      const type = block.uint(2);
      const length = block.uint(2);
      const data = block.skip(4).part(length);
      if (type === message.continuation) {
        const next = await this.read(data.address(), data.length());
        await this.messages1(next, messages);
      } else {
        messages.push({ type, data });
      }
    }
  }

  private async messages2(block: Cursor, order: number, messages: HeaderMessage[]): Promise<void> {
    while (block.left >= 4 + order) {
      const type = block.uint(1);
      const length = block.uint(2);
      const data = block.skip(1 + order).part(length);
      if (type === message.continuation) {
        const next = await this.read(data.address(), data.length() - 4); // without the checksum
        next.tag('OCHK');
        await this.messages2(next, order, messages);
      } else {
        messages.push({ type, data });
      }
    }
  }

  private async member(group: number, name: string): Promise<number> {
    for (const { type, data } of await this.header(group)) {
      if (type === message.symbolTable) {
        const tree = data.address();
        const heap = (await this.read(data.address(), 8 + 3 * this.sizes.length)).skip(8);
        const heapLength = heap.length();
        heap.length();
        const names = await this.read(heap.address(), heapLength);
        const found = await this.symbolBelow(tree, name, names, Infinity);
        if (found !== undefined) return found;
      } else if (type === message.link) {
        const found = linkTo(data, name);
        if (found !== undefined) return found;
      }
    }
    throw new RangeError(`no "${name}" among the links of a group that are known`);
  }

  private async symbolBelow(
    address: number,
    name: string,
    names: Cursor,
    above: number,
  ): Promise<number | undefined> {
    const { children } = await this.treeNode(address, 0, this.sizes.length, above);
    for (const { level, child } of children) {
      if (level > 0) {
        const found = await this.symbolBelow(child, name, names, level);
        if (found !== undefined) return found;
        continue;
      }
      const head = await this.read(child, 8);
      head.tag('SNOD');
      const count = head.skip(2).uint(2);
      const entryLength = 2 * this.sizes.address + 24;
      const entries = await this.read(child + 8, count * entryLength);
      for (let i = 0; i < count; i++) {
        const entry = entries.part(entryLength);
        const start = names.view.byteOffset + entry.address();
        const bytes = Buffer.from(names.view.buffer).subarray(start);
        if (bytes.subarray(0, bytes.indexOf(0)).toString('utf8') === name) return entry.address();
      }
    }
    return undefined;
  }

  private async chunksBelow(address: number, chunks: StoredChunk[], above: number): Promise<void> {
    const keyLength = 8 + 2 * 8;
    const { children } = await this.treeNode(address, 1, keyLength, above);
    for (const { level, key, child, entry } of children) {
      if (level > 0) {
        await this.chunksBelow(child, chunks, level);
        continue;
      }
      const length = key.uint(4);
      const unfiltered = key.uint(4);
      const first = key.uint(8);
      chunks.push({ first, offset: this.base + child, length, unfiltered, entry });
    }
  }

  /** A node of a B-tree of version 1: `type` 0 for groups, 1 for chunks. Its level is below that of the node above. */
  private async treeNode(
    address: number,
    type: number,
    keyLength: number,
    above: number,
  ): Promise<{ children: { level: number; key: Cursor; child: number; entry: number }[] }> {
    const head = await this.read(address, 8);
    head.tag('TREE');
    if (head.uint(1) !== type) throw new RangeError('a B-tree of another kind than expected');
    const level = head.uint(1);
    if (level >= above) throw new RangeError('a B-tree that leads back to itself');
    const count = head.uint(2);
    const start = address + 8 + 2 * this.sizes.address;
    const body = await this.read(start, count * (keyLength + this.sizes.address));
    const children = Array.from({ length: count }, () => {
      const entry = this.base + start + body.at;
      const key = body.part(keyLength);
      return { level, key, child: body.address(), entry };
    });
    return { children };
  }
}

/** The address of a hard link of that name. */
function linkTo(data: Cursor, name: string): number | undefined {
  data.skip(1);
  const flags = data.uint(1);
  const type = flags & 8 ? data.uint(1) : 0;
  data.skip((flags & 4 ? 8 : 0) + (flags & 16 ? 1 : 0));
  const text = data.part(data.uint(1 << (flags & 3)));
  const found = Buffer.from(text.view.buffer, text.view.byteOffset, text.view.byteLength);
  return type === 0 && found.toString('utf8') === name ? data.address() : undefined;
}
