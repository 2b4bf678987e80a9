import { get, poll, post } from './api.js';
import { byId, element, setChoices, setNotice, setState, setStyle, setText } from './dom.js';
import { count, duration, moment } from './format.js';

/** @import { JobMessage } from '../../service/messages.js' */

const intervalMs = 2000;
const longestList = 200;

/** @type {Record<JobMessage['state'], { mark: 'waiting' | 'busy' | 'good' | 'bad', means: string }>} */
const states = {
  active: { mark: 'busy', means: 'a worker is at it' },
  waiting: { mark: 'waiting', means: 'for a worker' },
  blocked: { mark: 'waiting', means: 'waits for other jobs' },
  delayed: { mark: 'waiting', means: 'until its next attempt' },
  done: { mark: 'good', means: '' },
  dead: { mark: 'bad', means: 'failed for good, or cancelled' },
};
const stateNames = /** @type {JobMessage['state'][]} */ (Object.keys(states));

/**
 * The queues: how many jobs stand how, and the jobs themselves.
 *
 * @returns {{ show(): void, hide(): void }}
 */
export function createQueues() {
  const notice = byId('queues-notice');
  const stateSelect = /** @type {HTMLSelectElement} */ (byId('job-state'));
  setChoices(stateSelect, [
    { value: '', label: 'all' },
    ...stateNames.map((value) => ({ value, label: value })),
  ]);
  /** @type {Map<string, ReturnType<typeof createJobRow>>} */
  const rows = new Map();
  /** Whether the notice is about the list; what became of an action stays until the next one. */
  let failing = true;

  const queues = poll(async () => {
    try {
      const state = stateSelect.value === '' ? '' : `&state=${stateSelect.value}`;
      const [counts, { jobs }] = await Promise.all([
        get('/api/queues'),
        get(`/api/jobs?limit=${longestList}${state}`),
      ]);
      if (failing) setNotice(notice);
      failing = false;
      byId('queues-content').hidden = !counts.available;
      if (!counts.available) {
        setNotice(notice, 'The service was started without queues.');
        return;
      }
      showCounts(counts.queues);
      showJobs(jobs);
    } catch (error) {
      failing = true;
      setNotice(notice, /** @type {Error} */ (error).message, 'error');
    }
  }, intervalMs);

  /** @param {Record<string, Partial<Record<JobMessage['state'], number>>>} counts */
  function showCounts(counts) {
    const table = byId('counts');
    const key = JSON.stringify(counts);
    if (table.dataset.key === key) return;
    table.dataset.key = key;
    const names = Object.keys(counts);
    table.replaceChildren(
      element(
        'thead',
        {},
        element(
          'tr',
          {},
          element('th', { scope: 'col' }, 'state'),
          ...names.map((name) => element('th', { scope: 'col' }, name)),
        ),
      ),
      element(
        'tbody',
        {},
        ...stateNames.map((state) =>
          element(
            'tr',
            {},
            element('th', { scope: 'row', title: states[state].means }, state),
            ...names.map((name) => {
              const jobs = counts[name][state] ?? 0;
              return element('td', { class: jobs === 0 && 'none' }, count(jobs));
            }),
          ),
        ),
      ),
    );
  }

  /** @param {readonly JobMessage[]} jobs */
  function showJobs(jobs) {
    byId('jobs-empty').hidden = jobs.length > 0;
    const list = byId('jobs');
    const ids = new Set(jobs.map(({ id }) => id));
    for (const [id, { row }] of rows) {
      if (ids.has(id)) continue;
      row.remove();
      rows.delete(id);
    }
    jobs.forEach((job, i) => {
      let entry = rows.get(job.id);
      if (entry === undefined) rows.set(job.id, (entry = createJobRow(job.id, act)));
      entry.set(job);
      // What is in its place stays there, with its focus.
      if (list.children[i] !== entry.row) list.insertBefore(entry.row, list.children[i] ?? null);
    });
  }

  /** @param {string} id @param {'cancel' | 'retry'} action */
  async function act(id, action) {
    try {
      const { outcome } = await post(`/api/jobs/${encodeURIComponent(id)}/${action}`);
      setNotice(notice, `${id}: ${outcome === 'waiting' ? 'back in its queue' : outcome}`);
      failing = false;
    } catch (error) {
      setNotice(notice, `${id}: ${/** @type {Error} */ (error).message}`, 'error');
    }
    await queues.now();
  }

  stateSelect.addEventListener('change', () => void queues.now());
  return { show: () => queues.start(), hide: () => queues.stop() };
}

/**
 * @param {string} id
 * @param {(id: string, action: 'cancel' | 'retry') => Promise<void>} act
 */
function createJobRow(id, act) {
  const state = element('p', { class: 'state' });
  const bar = element('div', { class: 'gauge', 'aria-hidden': 'true' });
  const progress = element('span');
  const since = element('p', { class: 'muted' });
  const reason = element('p', { class: 'failure' });
  const data = element('pre');
  const logs = element('pre', { hidden: true });
  const summary = element('summary', {}, 'Details');
  const showLogs = async () => {
    try {
      const { lines } = await get(`/api/jobs/${encodeURIComponent(id)}/logs`);
      setText(logs, lines.join('\n'));
      logs.hidden = lines.length === 0;
    } catch {
      // The job may be gone; the list of jobs tells errors.
    }
  };
  const details = element(
    'details',
    { toggle: () => void (details.open && showLogs()) },
    summary,
    data,
    logs,
  );
  /** @param {'cancel' | 'retry'} action @param {string} label */
  const button = (action, label) => {
    const made = element(
      'button',
      {
        type: 'button',
        class: 'small',
        'aria-label': `${label} ${id}`,
        click: async () => {
          made.disabled = true;
          await act(id, action);
          made.disabled = false;
          if (made.hidden) summary.focus();
        },
      },
      label,
    );
    return made;
  };
  const cancel = button('cancel', 'Cancel');
  const retry = button('retry', 'Retry');
  const row = element(
    'li',
    {},
    element(
      'div',
      { class: 'job' },
      element('code', {}, id),
      state,
      element('div', { class: 'progress' }, progress, bar),
      since,
      element('div', { class: 'acts' }, cancel, retry),
    ),
    reason,
    details,
  );
  return {
    row,
    /** @param {JobMessage} job */
    set(job) {
      const { mark } = states[job.state];
      const stopping = job.cancelled && job.state !== 'dead';
      const name = job.cancelled && job.state === 'dead' ? 'cancelled' : job.state;
      setState(state, mark, stopping ? `${name}, stopping` : name);
      const { done = 0, total = 0, phase = '', info } = job.progress ?? {};
      const part = total > 0 ? done / total : 0;
      const running = job.state !== 'done' && job.progress !== null;
      bar.hidden = !running;
      setStyle(bar, '--share', part);
      const words = [`${phase} ${count(done)}${total > 0 ? ` of ${count(total)}` : ''}`, info];
      setText(progress, running ? words.filter(Boolean).join(', ') : '');
      setText(since, timesOf(job));
      since.title = `handed over ${moment(job.submittedMs)}`;
      reason.hidden = job.reason === null || job.state === 'done';
      setText(reason, job.reason ?? '');
      setText(
        data,
        JSON.stringify(
          {
            queue: job.queue,
            kind: job.kind,
            attempts: job.attempts,
            data: job.data,
            result: job.result ?? undefined,
          },
          undefined,
          2,
        ),
      );
      if (details.open && job.state === 'active') void showLogs();
      cancel.hidden = job.state === 'done' || job.state === 'dead' || stopping;
      retry.hidden = job.state !== 'dead';
    },
  };
}

/** @param {JobMessage} job */
function timesOf({ state, submittedMs, startedMs, endedMs }) {
  const now = Date.now();
  if (state === 'active') return `for ${duration(now - (startedMs ?? submittedMs))}`;
  if ((state !== 'done' && state !== 'dead') || endedMs === null) {
    return `for ${duration(now - submittedMs)}`;
  }
  const took = startedMs === null ? '' : `, took ${duration(endedMs - startedMs)}`;
  return `${duration(now - endedMs)} ago${took}`;
}
