import { get } from './api.js';
import { setTheme } from './colours.js';
import { byId, setNotice, setText } from './dom.js';
import { createLive } from './live.js';
import { createQueues } from './queues.js';
import { createRuns } from './runs.js';

const main = byId('main');
const tabs = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll('[role=tab]')]);

/** @type {Record<string, { show(part?: string): void, hide(): void }>} */
const views = { runs: createRuns(), queues: createQueues() };
let shown = '';

/** Shows the view that the address names: `#live/STREAM`, `#runs/RUN`, `#queues`. */
function route() {
  const [wanted, part] = location.hash.slice(1).split('/');
  const name = tabs.some((tab) => tab.dataset.view === wanted) ? wanted : 'live';
  if (name !== shown) views[shown]?.hide();
  shown = name;
  for (const tab of tabs) {
    const selected = tab.dataset.view === name;
    tab.setAttribute('aria-selected', String(selected));
    tab.tabIndex = selected ? 0 : -1;
    byId(`view-${tab.dataset.view}`).hidden = !selected;
  }
  document.title = `${tabs.find((tab) => tab.dataset.view === name)?.textContent} · Saccade`;
  views[name]?.show(part && decoded(part));
}

/** @param {string} part of the address, which anybody may have written. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// Tabs as the ARIA practices have them: one is in the tab order, arrows go to the others.
tabs.forEach((tab, i) => {
  tab.addEventListener('click', () => (location.hash = tab.dataset.view ?? ''));
  tab.addEventListener('keydown', ({ key }) => {
    const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tabs.length - 1 }[key];
    if (to === undefined) return;
    const next = tabs[(to + tabs.length) % tabs.length];
    location.hash = next.dataset.view ?? '';
    next.focus();
  });
});

document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

const theme = document.documentElement.dataset.theme ?? 'auto';
for (const choice of /** @type {NodeListOf<HTMLInputElement>} */ (
  document.querySelectorAll('#theme input')
)) {
  choice.checked = choice.value === theme;
  choice.addEventListener('change', () => setTheme(choice.value));
}

addEventListener('hashchange', route);
route();
await connect();

/** The model says what the live view has to show; the other views need it not. */
async function connect() {
  const notice = byId('live-notice');
  for (;;) {
    try {
      const model = await get('/api/model');
      const { name, kind, preset, synthetic, backend } = model;
      setText(
        byId('model'),
        [name, [kind, preset].filter(Boolean).join(' '), synthetic && 'synthetic', backend]
          .filter(Boolean)
          .join(' · '),
      );
      setNotice(notice);
      views.live = createLive(model);
      if (shown === 'live') route();
      return;
    } catch (error) {
      setNotice(notice, /** @type {Error} */ (error).message, 'error');
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}
