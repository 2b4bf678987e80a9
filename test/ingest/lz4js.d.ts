declare module 'lz4js' {
  /** Decodes one LZ4 frame into `out`, dependent blocks too, and returns how many bytes that gave. */
  export function decompressFrame(frame: Uint8Array, out: Uint8Array): number;
  /** Encodes one LZ4 frame. */
  export function compress(bytes: Uint8Array): Uint8Array;
  const lz4: { decompressFrame: typeof decompressFrame; compress: typeof compress };
  export default lz4;
}
