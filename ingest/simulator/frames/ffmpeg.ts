import { spawn } from 'node:child_process';
import { SaccadeError } from '../../../engine/support/errors.js';

/** Last part of ffmpeg's messages that is told. */
const toldLength = 300;

/**
 * Decodes a video with the ffmpeg of the machine, if there is one, into a grey Y4M stream.
 *
 * @throws SaccadeError (`environment`) where there is no ffmpeg, (`input`) where it cannot read the file.
 */
export async function* ffmpegFrames(
  file: string,
  { signal, command = 'ffmpeg' }: { readonly signal?: AbortSignal; readonly command?: string } = {},
): AsyncGenerator<Uint8Array> {
  const input = file.startsWith('-') ? `./${file}` : file;
  const output = ['-f', 'yuv4mpegpipe', '-pix_fmt', 'gray', '-strict', '-1', '-'];
  const child = spawn(command, ['-v', 'error', '-nostdin', '-i', input, '-an', ...output], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stop = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', stop, { once: true });
  let told = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    told = (told + text).slice(-toldLength);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', (error) => {
      const message = `needs ${command}, which cannot be started; install it, or give a .y4m, an animation or a folder of pictures`;
      reject(new SaccadeError('environment', message, { file }, error));
    });
    child.on('close', resolve);
  });
  // It is waited for below, when the output has ended.
  ended.catch(() => undefined);
  try {
    for await (const chunk of child.stdout) yield chunk as Uint8Array;
    const exitCode = await ended;
    if (exitCode !== 0 && signal?.aborted !== true) {
      const message = `${command} cannot decode it: ${told.trim().replace(/\s+/g, ' ')}`;
      throw new SaccadeError('input', message, { file });
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
  }
}
