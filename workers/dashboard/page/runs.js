import { get, poll } from './api.js';
import { lineChart } from './charts.js';
import { confusionTable } from './confusion.js';
import { byId, element, setChoices, setNotice, setStyle } from './dom.js';
import { count, digits, moment, percent } from './format.js';

/** @import { RunMessage, RunSummary } from '../../service/messages.js' */

const intervalMs = 5000;

/**
 * The runs of the service's folder: a list, and of one its curves and its confusion matrix.
 *
 * @returns {{ show(run?: string): void, hide(): void }}
 */
export function createRuns() {
  const notice = byId('runs-notice');
  const place = byId('run');
  /** @type {string | undefined} */
  let wanted;
  /** What is shown, to be left alone as long as it is the same. */
  let shownKey = '';
  /** @type {string | undefined} */
  let compared;
  let end = () => {};

  const runs = poll(async () => {
    try {
      const { available, runs: found, truncated } = await get('/api/runs');
      showList(found);
      const id = found.some((/** @type {RunSummary} */ run) => run.id === wanted)
        ? wanted
        : found[0]?.id;
      if (wanted !== undefined && id !== wanted)
        setNotice(notice, `There is no run ${wanted}.`, 'error');
      else if (!available) setNotice(notice, 'The service was started without a folder of runs.');
      else if (found.length === 0)
        setNotice(notice, 'No runs yet: `saccade train` makes the first.');
      else setNotice(notice, truncated ? 'Only the newest runs are listed.' : '');
      byId('runs-split').hidden = found.length === 0;
      if (id !== undefined) await showRun(id, found);
    } catch (error) {
      setNotice(notice, /** @type {Error} */ (error).message, 'error');
    }
  }, intervalMs);

  /** @param {readonly RunSummary[]} found */
  function showList(found) {
    const list = byId('run-list');
    const key = JSON.stringify([found, wanted]);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    const focused = document.activeElement?.getAttribute('href');
    list.replaceChildren(
      ...found.map((run, i) =>
        element(
          'li',
          {},
          element(
            'a',
            {
              href: `#runs/${encodeURIComponent(run.id)}`,
              'aria-current': (wanted === undefined ? i === 0 : run.id === wanted) && 'page',
            },
            element('b', { title: run.id }, run.id),
            element('span', { class: 'muted' }, summaryOf(run)),
          ),
        ),
      ),
    );
    if (focused?.startsWith('#runs')) {
      [...list.querySelectorAll('a')]
        .find((link) => link.getAttribute('href') === focused)
        ?.focus();
    }
  }

  /** @param {string} id @param {readonly RunSummary[]} all */
  async function showRun(id, all) {
    const others = all.filter((run) => run.id !== id).map((run) => run.id);
    if (compared !== undefined && !others.includes(compared)) compared = undefined;
    const [run, other] = await Promise.all([
      get(`/api/runs/${encodeURIComponent(id)}`),
      compared === undefined ? undefined : get(`/api/runs/${encodeURIComponent(compared)}`),
    ]);
    const key = JSON.stringify([run, other, others]);
    if (key === shownKey) return;
    shownKey = key;
    end();
    end = fill(place, run, other, others, (choice) => {
      compared = choice;
      void runs.now();
    });
  }

  return {
    show(run) {
      if (run !== undefined && run !== wanted) {
        wanted = run;
        void runs.now();
      }
      runs.start();
    },
    hide: () => runs.stop(),
  };
}

/** @param {RunSummary} run */
function summaryOf({ model, epochs, totalEpochs, bestAccuracy, synthetic, modifiedMs }) {
  return [
    model,
    `${epochs} of ${totalEpochs} epochs`,
    bestAccuracy === null ? undefined : percent(bestAccuracy, 1),
    synthetic ? 'synthetic' : undefined,
    moment(modifiedMs),
  ]
    .filter(Boolean)
    .join(' · ');
}

/**
 * @param {HTMLElement} place
 * @param {RunMessage} run
 * @param {RunMessage | undefined} other whose curves are drawn beside those of the run.
 * @param {readonly string[]} others
 * @param {(id: string | undefined) => void} compare
 * @returns {() => void} takes the charts away.
 */
function fill(place, run, other, others, compare) {
  const { config, history, evaluations } = run;
  const refocus = document.activeElement?.id === 'compare';
  const select = element('select', {
    id: 'compare',
    change: () => compare(select.value || undefined),
  });
  setChoices(select, [
    { value: '', label: 'no other run' },
    ...others.map((id) => ({ value: id, label: id })),
  ]);
  select.value = other?.id ?? '';

  const loss = chartPanel('Loss', [
    ...curve(run, 'training', 'series-2', 'trainingLoss'),
    ...curve(run, 'validation', 'series-1', 'validationLoss'),
    ...(other ? curve(other, `training, ${other.id}`, 'series-4', 'trainingLoss', [5, 4]) : []),
    ...(other ? curve(other, `validation, ${other.id}`, 'series-3', 'validationLoss', [5, 4]) : []),
  ]);
  const accuracy = chartPanel('Accuracy on validation', [
    ...curve(run, run.id, 'series-1', 'validationAccuracy'),
    ...(other ? curve(other, other.id, 'series-3', 'validationAccuracy', [5, 4]) : []),
  ]);

  place.replaceChildren(
    element(
      'div',
      { class: 'run' },
      element(
        'section',
        { class: 'panel whole', 'aria-labelledby': 'run-title' },
        element(
          'header',
          {},
          element('h2', { class: 'title', id: 'run-title' }, run.id),
          others.length > 0
            ? element('label', { class: 'field' }, element('span', {}, 'Compare with'), select)
            : '',
        ),
        facts(run),
        settings(config),
      ),
      loss.panel,
      accuracy.panel,
      ...(history.length === 0
        ? [element('p', { class: 'muted whole' }, 'No epoch has ended yet.')]
        : [values(run)]),
      ...evaluations.map((evaluation) => evaluationPanel(evaluation, run.classes)),
      ...(evaluations.length === 0
        ? [
            element(
              'section',
              { class: 'panel whole' },
              element(
                'p',
                { class: 'muted' },
                'Not evaluated yet: ',
                element('code', {}, 'saccade eval'),
                ' makes the confusion matrix.',
              ),
            ),
          ]
        : []),
    ),
  );
  // The charts need the size of their places.
  const charts = [
    loss.draw((value) => digits(value)),
    accuracy.draw((value) => percent(value), [0, 1]),
  ];
  if (refocus) select.focus();
  return () => charts.forEach((chart) => chart.remove());
}

/**
 * @typedef {{ label: string, colour: string, dash?: number[], points: Map<number, number | null> }} Curve
 */

/**
 * @param {RunMessage} run
 * @param {string} label
 * @param {string} colour
 * @param {'trainingLoss' | 'validationLoss' | 'validationAccuracy'} field
 * @param {number[]} [dash]
 * @returns {Curve[]}
 */
function curve({ history }, label, colour, field, dash) {
  return [
    { label, colour, dash, points: new Map(history.map((epoch) => [epoch.epoch, epoch[field]])) },
  ];
}

/** @param {string} title @param {readonly Curve[]} curves */
function chartPanel(title, curves) {
  const chart = element('div', { class: 'chart' });
  const readout = element('p', { class: 'muted readout' });
  const panel = element(
    'section',
    { class: 'panel', 'aria-label': title },
    element('header', {}, element('h2', {}, title), readout),
    chart,
    element(
      'ul',
      { class: 'legend lines' },
      ...curves.map(({ label, colour, dash }) => {
        const entry = element('li', { class: dash && 'dashed' }, label);
        setStyle(entry, '--key', `var(--${colour})`);
        return entry;
      }),
    ),
  );
  const epochs = [...new Set(curves.flatMap(({ points }) => [...points.keys()]))].sort(
    (a, b) => a - b,
  );
  return {
    panel,
    /** @param {(value: number) => string} y @param {readonly [number, number]} [range] */
    draw(y, range) {
      const drawn = lineChart(chart, {
        title: `${title} by epoch; the values stand in a table below`,
        series: curves.map((line) => ({ ...line, points: epochs.length <= 40 })),
        x: (epoch) => (Number.isInteger(epoch) ? String(epoch) : ''),
        y,
        range,
        whole: true,
        readout,
      });
      drawn.set([
        epochs,
        ...curves.map(({ points }) => epochs.map((epoch) => points.get(epoch) ?? null)),
      ]);
      return drawn;
    },
  };
}

/** @param {RunMessage} run */
function facts({ config, history, classes, synthetic }) {
  const accuracies = history.map(({ validationAccuracy }) => validationAccuracy ?? -1);
  const best = accuracies.indexOf(Math.max(...accuracies));
  const { bins, height, width } = config.input;
  /** @type {[string, string][]} */
  const rows = [
    ['experiment', config.name],
    ['model', [config.model.kind, config.model.preset].filter(Boolean).join(' ')],
    ['input', `${config.representation}, ${bins} × ${height} × ${width}`],
    ['data', synthetic ? `${config.dataset} (synthetic)` : config.dataset],
    ['classes', count(classes.length)],
    ['seed', String(config.seed)],
    ['epochs', `${history.length} of ${String(config.training.epochs ?? '?')}`],
    [
      'best on validation',
      best >= 0 && accuracies[best] >= 0
        ? `${percent(accuracies[best], 1)} after epoch ${history[best].epoch}`
        : '–',
    ],
  ];
  return element(
    'dl',
    { class: 'facts' },
    ...rows.map(([term, value]) =>
      element('div', {}, element('dt', {}, term), element('dd', {}, value)),
    ),
  );
}

/** @param {RunMessage['config']} config */
function settings({ model, training }) {
  return element(
    'details',
    {},
    element('summary', {}, 'Settings'),
    element('pre', {}, JSON.stringify({ model, training }, undefined, 2)),
  );
}

/** The curves as numbers, for those who cannot see them and those who want them. @param {RunMessage} run */
function values({ history }) {
  const number = (/** @type {number | null} */ value) => (value === null ? '–' : value.toFixed(3));
  return element(
    'details',
    { class: 'panel whole' },
    element('summary', {}, 'Values by epoch'),
    element(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Values by epoch' },
      element(
        'table',
        { class: 'rows' },
        headRow(
          'epoch',
          'training loss',
          'validation loss',
          'accuracy',
          'learning rate',
          'gradient norm',
        ),
        element(
          'tbody',
          {},
          ...history.map((epoch) =>
            element(
              'tr',
              {},
              element('th', { scope: 'row' }, String(epoch.epoch)),
              ...[
                number(epoch.trainingLoss),
                number(epoch.validationLoss),
                epoch.validationAccuracy === null ? '–' : percent(epoch.validationAccuracy, 1),
                epoch.learningRate.toExponential(2),
                digits(epoch.gradientNorm),
              ].map((text) => element('td', {}, text)),
            ),
          ),
        ),
      ),
    ),
  );
}

/** @param {RunMessage['evaluations'][number]} evaluation @param {readonly string[]} classes */
function evaluationPanel(evaluation, classes) {
  const { part, looks, loss, accuracy, accuracyInterval, balancedAccuracy, confusion } = evaluation;
  const share = (/** @type {number | null} */ value) => (value === null ? '–' : percent(value, 1));
  const interval =
    accuracyInterval === null
      ? ''
      : ` (95 %: ${accuracyInterval.map((end) => (100 * end).toFixed(1)).join(' … ')})`;
  return element(
    'section',
    { class: 'panel whole evaluation', 'aria-label': `Evaluation on the ${part} part` },
    element(
      'header',
      {},
      element('h2', {}, `On the ${part} part: ${share(accuracy)}${interval}`),
      element(
        'p',
        { class: 'muted' },
        `balanced ${share(balancedAccuracy)} · loss ${loss.toFixed(3)} · looked at ${count(looks)} ×`,
      ),
    ),
    element(
      'div',
      { class: 'matrices' },
      element(
        'div',
        { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Confusion matrix' },
        confusionTable(confusion, classes),
      ),
      element(
        'div',
        { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'By class' },
        element(
          'table',
          { class: 'rows' },
          element('caption', {}, 'By class'),
          headRow('class', 'precision', 'recall', 'F1', 'clips'),
          element(
            'tbody',
            {},
            ...evaluation.classes.map(({ name, precision, recall, f1, support }) =>
              element(
                'tr',
                {},
                element('th', { scope: 'row' }, name),
                ...[share(precision), share(recall), share(f1), count(support)].map((text) =>
                  element('td', {}, text),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

/** @param {...string} names */
function headRow(...names) {
  return element(
    'thead',
    {},
    element('tr', {}, ...names.map((name) => element('th', { scope: 'col' }, name))),
  );
}
