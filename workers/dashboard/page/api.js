import { byId, setState } from './dom.js';

/** What the service answered where it did not do what was asked. */
export class ServiceError extends Error {
  /** @param {string} message @param {number} status of HTTP; 0 where there was no answer */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const tokenName = 'token';

/** @param {string} path @returns {Promise<any>} */
export const get = (path) => request('GET', path);

/** @param {string} path @param {unknown} [body] @returns {Promise<any>} */
export const post = (path, body) => request('POST', path, body);

/** @param {string} path @returns {Promise<any>} */
export const remove = (path) => request('DELETE', path);

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function request(method, path, body) {
  for (;;) {
    const token = sessionStorage.getItem(tokenName);
    /** @type {Response} */
    let response;
    try {
      response = await fetch(path, {
        method,
        headers: {
          ...(token !== null && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: 'no-store',
      });
    } catch {
      setState(byId('service-state'), 'bad', 'no answer, trying again');
      throw new ServiceError('The service does not answer.', 0);
    }
    if (response.status === 401) {
      await askForToken(token);
      continue;
    }
    setState(byId('service-state'), 'good', 'connected');
    const text = await response.text();
    const answer = parsed(text);
    if (response.ok) return answer;
    throw new ServiceError(
      messageOf(answer) ?? `${response.status} ${response.statusText}`,
      response.status,
    );
  }
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {any} answer @returns {string | undefined} */
const messageOf = (answer) => answer?.error?.message;

/** @type {Promise<void> | undefined} */
let asking;

/**
 * Asks for the token that the service wants, once for all requests that wait for it.
 *
 * @param {string | null} refused the one that it did not accept.
 */
function askForToken(refused) {
  if (sessionStorage.getItem(tokenName) !== refused) return Promise.resolve();
  setState(byId('service-state'), 'bad', 'token needed');
  asking ??= new Promise((resolve) => {
    const dialog = /** @type {HTMLDialogElement} */ (byId('token-dialog'));
    const field = /** @type {HTMLInputElement} */ (byId('token'));
    byId('token-failure').hidden = refused === null;
    const keepOpen = (/** @type {Event} */ event) => event.preventDefault();
    dialog.addEventListener('cancel', keepOpen);
    dialog.addEventListener(
      'close',
      () => {
        dialog.removeEventListener('cancel', keepOpen);
        sessionStorage.setItem(tokenName, field.value.trim());
        field.value = '';
        asking = undefined;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
    field.focus();
  });
  return asking;
}

/** @param {string} text of ASCII */
const base64url = (text) =>
  btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** @typedef {(connection: 'connecting' | 'open' | 'waiting' | 'ended', delayMs?: number) => void} OnConnection */

const firstDelayMs = 500;
const longestDelayMs = 10_000;

/**
 * Listens to a WebSocket of the service, and connects anew when it breaks, ever more slowly.
 *
 * @param {string} path
 * @param {(message: any) => boolean} onMessage whether more is to come.
 * @param {OnConnection} onConnection
 * @returns {() => void} ends it.
 */
export function listen(path, onMessage, onConnection) {
  /** @type {WebSocket | undefined} */
  let socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let delayMs = firstDelayMs;
  let ended = false;

  const connect = () => {
    onConnection('connecting');
    const url = new URL(path, location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const token = sessionStorage.getItem(tokenName);
    // A browser can send no header with a WebSocket, but names of protocols.
    const protocols = token === null ? [] : [`saccade.token.${base64url(token)}`];
    socket = new WebSocket(url, ['saccade', ...protocols]);
    socket.addEventListener('open', () => {
      delayMs = firstDelayMs;
      onConnection('open');
    });
    socket.addEventListener('message', ({ data }) => {
      if (ended || onMessage(parsed(String(data)))) return;
      end();
      onConnection('ended');
    });
    socket.addEventListener('close', () => {
      if (ended) return;
      onConnection('waiting', delayMs);
      timer = setTimeout(connect, delayMs * (0.75 + Math.random() / 2));
      delayMs = Math.min(2 * delayMs, longestDelayMs);
    });
  };
  const end = () => {
    ended = true;
    clearTimeout(timer);
    socket?.close();
  };
  connect();
  return end;
}

/**
 * Asks again and again while something is shown.
 *
 * @param {() => Promise<void>} ask handles its own errors.
 * @param {number} intervalMs
 * @returns {{ start(): void, stop(): void, now(): Promise<void> }}
 */
export function poll(ask, intervalMs) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let running = false;
  /** The last question, which waits for those before it. */
  let last = Promise.resolve();
  const now = async () => {
    clearTimeout(timer);
    const mine = (last = last.then(ask));
    await mine;
    if (running && mine === last)
      timer = setTimeout(now, document.hidden ? 5 * intervalMs : intervalMs);
  };
  return {
    start() {
      if (running) return;
      running = true;
      void now();
    },
    stop() {
      running = false;
      clearTimeout(timer);
    },
    now,
  };
}
