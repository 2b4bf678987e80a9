import { get, listen, poll, post, remove } from './api.js';
import { lineChart } from './charts.js';
import { onThemeChange, seriesLook } from './colours.js';
import { byId, element, setChoices, setNotice, setState, setStyle, setText } from './dom.js';
import { drawEvents } from './eventPicture.js';
import { count, digits, milliseconds, percent, seconds, short } from './format.js';
import { drawRaster } from './raster.js';

/** @import { BinMessage, ModelMessage, StreamMessage, WatchMessage } from '../../service/messages.js' */

/**
 * What the charts need of a bin.
 *
 * @typedef {object} Bin
 * @property {number} s its end in the stream's time, in seconds; goes on where a replay begins anew
 * @property {readonly number[]} probabilities
 * @property {readonly number[]} smoothed
 * @property {Readonly<Record<string, number>>} rates
 * @property {Readonly<Record<string, Uint8Array>>} spikes
 * @property {number} latencyMs
 */

/** Bins that the charts show. */
const shownBins = 200;
const streamsIntervalMs = 3000;
/** Pictures a second are no more than this, and one a second for people who want no motion. */
const frameMs = 50;
const calmFrameMs = 1000;
/** A change of the prediction is read aloud no more often than this. */
const announcementMs = 3000;

/**
 * The view of a running stream.
 *
 * @param {ModelMessage} model
 * @returns {{ show(stream?: string): void, hide(): void }}
 */
export function createLive(model) {
  const { classes, layers } = model;
  const notice = byId('live-notice');
  const streamState = byId('stream-state');
  const streamSelect = /** @type {HTMLSelectElement} */ (byId('stream'));
  const recordingSelect = /** @type {HTMLSelectElement} */ (byId('recording'));
  const holdButton = /** @type {HTMLButtonElement} */ (byId('hold'));
  const stopButton = /** @type {HTMLButtonElement} */ (byId('stop'));
  const startButton = /** @type {HTMLButtonElement} */ (byId('start'));
  const smoothed = /** @type {HTMLInputElement} */ (byId('smoothed'));
  const calm = matchMedia('(prefers-reduced-motion: reduce)');

  /** @type {string | undefined} */
  let watched;
  let endListening = () => {};
  /** @type {Bin[]} */
  let bins = [];
  /** @type {BinMessage | undefined} */
  let newest;
  /** What is shown in place of the newest while it is held. @type {{ bins: Bin[], newest?: BinMessage } | undefined} */
  let held;
  /** Added to the times of a replay that has begun anew, so that time goes on in the charts. */
  let offsetUs = 0;
  let visible = false;
  /** Whether the service has said which streams there are. */
  let known = false;

  const classRows = createClassRows(classes);
  const strips = createStrips(layers);
  const inSeconds = (/** @type {number} */ s) => (s < 0 ? '' : `${digits(s)} s`);
  // As wide as the rasters, which end with the newest bin as well.
  const span = (shownBins * model.binUs) / 1e6;
  const lines = (/** @type {readonly string[]} */ labels) =>
    labels.map((label, i) => ({ label, ...seriesLook(i) }));
  const probabilityChart = lineChart(chartOf('probabilities'), {
    title: 'Probability of each class over time; the list of classes has the present values',
    series: lines(classes),
    x: inSeconds,
    span,
    y: (share) => percent(share),
    range: [0, 1],
    readout: readoutOf('probabilities'),
  });
  const rateChart = lineChart(chartOf('rates'), {
    title: 'Firing rate of each layer over time; the list of layers has the present values',
    series: lines(layers.map(({ path }) => path)),
    x: inSeconds,
    span,
    y: (share) => percent(share, share > 0 && share < 0.1 ? 1 : 0),
    readout: readoutOf('rates'),
  });
  const latencyChart = lineChart(chartOf('latency'), {
    title: 'Latency over time, from the last event of a bin to its prediction',
    series: [{ label: '', colour: 'series-1' }],
    x: inSeconds,
    span,
    y: milliseconds,
  });

  // Streams

  const streams = poll(async () => {
    try {
      const [{ streams: found }, { available, recordings }] = await Promise.all([
        get('/api/streams'),
        get('/api/recordings'),
      ]);
      if (notice.dataset.kind === 'error' && failing) setNotice(notice);
      failing = false;
      showStreams(found);
      setChoices(
        recordingSelect,
        recordings.map((/** @type {{ file: string }} */ { file }) => ({
          value: file,
          label: file,
        })),
        available ? 'no recordings' : 'the service was given no folder of recordings',
      );
      startButton.disabled = recordings.length === 0;
    } catch (error) {
      failing = true;
      fail(error);
    }
  }, streamsIntervalMs);
  let failing = false;

  /** @param {unknown} error */
  const fail = (error) => setNotice(notice, /** @type {Error} */ (error).message, 'error');

  /** @param {readonly StreamMessage[]} found */
  function showStreams(found) {
    known = true;
    setChoices(
      streamSelect,
      found.map(({ id, from, state }) => ({
        value: id,
        label: [from || id, from && id, state !== 'running' && state].filter(Boolean).join(' · '),
      })),
      'no streams',
    );
    if (watched === undefined && newest === undefined) {
      const open = found.findLast(({ state }) => state === 'running' || state === 'waiting');
      if (open !== undefined) watch(open.id);
    }
    const stream = found.find(({ id }) => id === watched);
    if (stream !== undefined) {
      streamSelect.value = stream.id;
      setText(byId('losses'), lossesSentence(stream.losses));
    } else if (watched !== undefined && newest === undefined) {
      setNotice(notice, `There is no stream ${watched}.`, 'error');
      leave();
    }
    requestFrame();
  }

  /** @param {string} id */
  function watch(id) {
    endListening();
    watched = id;
    bins = [];
    newest = undefined;
    offsetUs = 0;
    setHeld(false);
    setText(byId('losses'), '');
    if (visible) history.replaceState(null, '', `#live/${encodeURIComponent(id)}`);
    streamSelect.value = id;
    endListening = listen(`/api/streams/${encodeURIComponent(id)}/watch`, take, showConnection);
    requestFrame();
  }

  /** Ends watching; what was seen last stays. */
  function leave() {
    endListening();
    watched = undefined;
    showConnection('ended');
  }

  /** @type {import('./api.js').OnConnection} */
  function showConnection(connection, delayMs = 0) {
    holdButton.disabled = connection !== 'open';
    stopButton.disabled = connection !== 'open';
    if (connection === 'open') setState(streamState, 'good', 'live');
    else if (connection === 'ended') setState(streamState, 'waiting', 'ended');
    else if (connection === 'connecting') setState(streamState, 'busy', 'connecting');
    else setState(streamState, 'bad', `broken, again in ${Math.ceil(delayMs / 1000)} s`);
  }

  /** @param {WatchMessage} message @returns {boolean} whether more is to come. */
  function take(message) {
    if (message.type === 'end') {
      const { state, report } = message;
      setNotice(notice, endSentence(report), state === 'failed' ? 'error' : 'note');
      watched = undefined;
      void streams.now();
      return false;
    }
    if (message.type !== 'bin') return true;
    const last = bins.at(-1);
    if (last !== undefined && message.endUs + offsetUs <= 1e6 * last.s) {
      offsetUs = 1e6 * last.s - message.startUs;
    }
    const { probabilities, rates, latencyMs } = message;
    bins.push({
      s: (message.endUs + offsetUs) / 1e6,
      probabilities,
      smoothed: message.smoothed,
      rates,
      spikes: Object.fromEntries(
        Object.entries(message.raster).map(([layer, bits]) => [layer, bytesOf(bits)]),
      ),
      latencyMs,
    });
    if (bins.length > shownBins) bins.shift();
    newest = message;
    requestFrame();
    return true;
  }

  // Drawing

  let drawnMs = 0;
  let waiting = false;
  function requestFrame() {
    if (waiting || !visible) return;
    waiting = true;
    const pauseMs = drawnMs + (calm.matches ? calmFrameMs : frameMs) - performance.now();
    setTimeout(() => requestAnimationFrame(drawFrame), Math.max(0, pauseMs));
  }

  function drawFrame() {
    waiting = false;
    drawnMs = performance.now();
    byId('live-empty').hidden = newest !== undefined || !known;
    byId('no-stream').hidden = watched !== undefined;
    byId('no-events').hidden = watched === undefined;
    byId('instruments').hidden = newest === undefined;
    const shown = held ?? { bins, newest };
    if (shown.newest === undefined) return;
    drawScene(shown.newest);
    showAnswer(shown.newest);
    drawHistory(shown.bins);
  }

  /** @param {BinMessage} bin */
  function drawScene({ bin, startUs, endUs, events, image, skipped }) {
    setText(byId('time'), seconds(endUs));
    setText(byId('bin'), count(bin));
    setText(byId('events'), count(events));
    setText(byId('event-rate'), short((1e6 * events) / (endUs - startUs)));
    setText(
      byId('skipped'),
      skipped > 0 ? `${count(skipped)} bins were not shown: this browser reads too slowly.` : '',
    );
    const { width, height, on, off } = image;
    const picture = /** @type {HTMLCanvasElement} */ (byId('picture'));
    const label = `${count(events)} events of bin ${bin}, ${width} × ${height} pixels`;
    picture.setAttribute('aria-label', label);
    drawEvents(picture, { width, height, on: bytesOf(on), off: bytesOf(off) });
  }

  /** @param {BinMessage} bin */
  function showAnswer({ prediction, smoothed: shares, decided }) {
    const index = classes.indexOf(prediction);
    const share = percent(shares[index] ?? 0);
    setText(byId('prediction'), prediction);
    byId('prediction').title = prediction;
    setText(byId('confidence'), share);
    setText(
      byId('decision'),
      decided === undefined
        ? 'not decided yet'
        : `decided: ${decided.class}, bin ${count(decided.bin)}${afterBins(decided)}, ${percent(decided.confidence)}`,
    );
    classRows.set(shares, index);
    announce(prediction, `${prediction}, ${share}`);
  }

  /** @param {readonly Bin[]} shown */
  function drawHistory(shown) {
    const places = shown.map(({ s }) => s);
    const kind = smoothed.checked ? 'smoothed' : 'probabilities';
    probabilityChart.set([places, ...classes.map((_, i) => shown.map((bin) => bin[kind][i]))]);
    rateChart.set([
      places,
      ...layers.map(({ path }) => shown.map(({ rates }) => rates[path] ?? null)),
    ]);
    const latencies = shown.map(({ latencyMs }) => latencyMs);
    latencyChart.set([places, latencies]);
    const sorted = latencies.toSorted((a, b) => a - b);
    const below = (/** @type {number} */ share) =>
      milliseconds(sorted[Math.ceil(share * sorted.length) - 1]);
    setText(byId('latency-note'), `half within ${below(0.5)}, 99 % within ${below(0.99)}`);
    strips.set(shown);
  }

  let announced = '';
  let announcedMs = -Infinity;
  /** @param {string} prediction @param {string} text */
  function announce(prediction, text) {
    const now = performance.now();
    if (prediction === announced || now - announcedMs < announcementMs) return;
    announced = prediction;
    announcedMs = now;
    setText(byId('announcement'), text);
  }

  // What people do

  /** @param {boolean} value */
  function setHeld(value) {
    held = value ? { bins: [...bins], newest } : undefined;
    holdButton.setAttribute('aria-pressed', String(value));
    requestFrame();
  }
  holdButton.addEventListener('click', () => setHeld(held === undefined));
  streamSelect.addEventListener('change', () => {
    setNotice(notice);
    watch(streamSelect.value);
  });
  stopButton.addEventListener('click', async () => {
    if (watched === undefined) return;
    await remove(`/api/streams/${encodeURIComponent(watched)}`).catch(fail);
    await streams.now();
  });
  byId('replay').addEventListener('submit', async (event) => {
    event.preventDefault();
    startButton.disabled = true;
    try {
      const { id } = await post('/api/streams', {
        source: {
          kind: 'replay',
          file: recordingSelect.value,
          speed: Number(/** @type {HTMLSelectElement} */ (byId('speed')).value),
          loop: /** @type {HTMLInputElement} */ (byId('loop')).checked,
        },
      });
      setNotice(notice);
      watch(id);
      await streams.now();
    } catch (error) {
      fail(error);
    } finally {
      startButton.disabled = false;
    }
  });
  smoothed.addEventListener('change', requestFrame);
  onThemeChange(requestFrame);
  addEventListener('resize', requestFrame);

  return {
    show(stream) {
      visible = true;
      streams.start();
      if (stream !== undefined && stream !== watched) watch(stream);
      else if (watched !== undefined) {
        history.replaceState(null, '', `#live/${encodeURIComponent(watched)}`);
      }
      requestFrame();
    },
    hide() {
      visible = false;
      streams.stop();
    },
  };
}

/** @param {string} id @returns {HTMLElement} */
const chartOf = (id) => /** @type {HTMLElement} */ (byId(id).querySelector('.chart'));
/** @param {string} id @returns {HTMLElement} */
const readoutOf = (id) => /** @type {HTMLElement} */ (byId(id).querySelector('.readout'));

/** @param {string} base64 */
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** The mark that tells which line of a chart something is. @param {number} index */
function swatch(index) {
  const { colour, dash } = seriesLook(index);
  const mark = element('span', { class: dash ? 'swatch dashed' : 'swatch', 'aria-hidden': 'true' });
  setStyle(mark, '--key', `var(--${colour})`);
  return mark;
}

/** The list of classes with a bar for each. @param {readonly string[]} classes */
function createClassRows(classes) {
  const rows = classes.map((label, i) => {
    const bar = element('span', { class: 'gauge', 'aria-hidden': 'true' });
    setStyle(bar, '--key', `var(--${seriesLook(i).colour})`);
    const share = element('span', { class: 'share' }, '–');
    const name = element('span', { class: 'name', title: label }, label);
    return { row: element('li', {}, swatch(i), name, bar, share), bar, share };
  });
  const list = byId('classes');
  list.replaceChildren(...rows.map(({ row }) => row));
  // A long list scrolls, also with keys.
  if (classes.length > 12) list.tabIndex = 0;
  return {
    /** @param {readonly number[]} shares @param {number} prediction */
    set(shares, prediction) {
      rows.forEach(({ row, bar, share }, i) => {
        setText(share, percent(shares[i] ?? 0));
        setStyle(bar, '--share', shares[i] ?? 0);
        if (i === prediction) row.setAttribute('aria-current', 'true');
        else row.removeAttribute('aria-current');
      });
    },
  };
}

/** For each layer its name, its firing rate and which neurons fired. @param {ModelMessage['layers']} layers */
function createStrips(layers) {
  const rows = layers.map(({ path, neurons, sampled }, i) => {
    const rate = element('span', { class: 'rate' }, '–');
    const shown = `${count(sampled)} of ${count(neurons)} neurons`;
    const canvas = element('canvas', { role: 'img', 'aria-label': `Spikes of ${path}, ${shown}` });
    const name = element(
      'span',
      { class: 'name', title: `${path}: ${shown}` },
      swatch(i),
      element('span', {}, path),
    );
    return { path, sampled, rate, canvas, row: element('div', {}, name, rate, canvas) };
  });
  const place = byId('strips');
  // The more layers, the lower each strip.
  const height = Math.max(16, Math.min(64, Math.floor(240 / Math.max(1, layers.length))));
  setStyle(place, '--strip', `${height}px`);
  place.replaceChildren(...rows.map(({ row }) => row));
  return {
    /** @param {readonly Bin[]} bins */
    set(bins) {
      const last = bins.at(-1);
      for (const { path, sampled, rate, canvas } of rows) {
        setText(rate, percent(last?.rates[path] ?? 0, 1));
        drawRaster(
          canvas,
          bins.map(({ spikes }) => spikes[path]),
          sampled,
          shownBins,
        );
      }
    },
  };
}

/** @param {StreamMessage['losses']} losses */
function lossesSentence(losses) {
  const lost = /** @type {[number, string][]} */ ([
    [losses.lateEvents, 'events came too late'],
    [losses.jumps, 'jumps in time'],
    [losses.droppedEvents, 'events dropped'],
    [losses.droppedDatagrams, 'datagrams dropped'],
    [losses.outsideSensor, 'events outside the sensor'],
    [losses.damages, 'damaged places'],
  ]);
  return lost
    .filter(([value]) => value > 0)
    .map(([value, what]) => `${count(value)} ${what}`)
    .join(', ');
}

/** @param {StreamMessage} report */
function endSentence({ id, from, state, reason, bins, events, losses }) {
  const lost = lossesSentence(losses);
  const how =
    state === 'failed' ? 'has failed' : state === 'evicted' ? 'was put aside' : 'has ended';
  const what = `${count(bins)} bins, ${count(events)} events`;
  return `${from || id} ${how}${reason ? ` (${reason})` : ''}: ${[what, lost].filter(Boolean).join(', ')}.`;
}

/** @param {{ frames?: number }} decided */
function afterBins({ frames }) {
  return frames === undefined ? '' : ` after ${count(frames)} of its clip`;
}
