declare module 'lz4js' {
  /** Decodes one LZ4 frame into `out`, dependent blocks too, and returns how many bytes that gave. */
  export function decompressFrame(frame: Uint8Array, out: Uint8Array): number;
  /** Encodes one LZ4 frame. */
  export function compress(bytes: Uint8Array): Uint8Array;
  const lz4: { decompressFrame: typeof decompressFrame; compress: typeof compress };
  export default lz4;
}

declare module 'lz4js/xxh32.js' {
  /** xxHash32 of `length` bytes from `start` on. */
  export function hash(seed: number, bytes: Uint8Array, start: number, length: number): number;
  const xxh32: { hash: typeof hash };
  export default xxh32;
}
