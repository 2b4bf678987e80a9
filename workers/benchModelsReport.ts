import type { Crossover } from '../models/analysis/energy.js';
import type { BenchedModel, BenchModelsResult } from './benchModelsResult.js';
import { recallCell } from './benchRecallReport.js';
import { fixed, interval, markdownTable, percent } from './markdownTable.js';

/** The bench as a table in Markdown. */
export function benchTable({ models }: Pick<BenchModelsResult, 'models'>): string {
  const recalled = models.some(({ recall }) => recall !== null);
  const head = [
    'model',
    'accuracy',
    'over seeds',
    'over clips',
    'parameters',
    'M MAC',
    'M AC',
    'traffic, MB',
    'firing rate',
    'energy, µJ',
    'of it compute',
    'state, kB',
    'ms per bin',
    ...(recalled ? ['MQAR', 'event MQAR', 'blocking'] : []),
  ];
  const rows = models.map((model) => {
    const { selected, parameters, measured, firingRate, recall } = model;
    const { operations, energy, stateBytes, latencyMs } = measured;
    return [
      `\`${model.model}\``,
      percent(selected.mean),
      interval(selected.interval95),
      interval(model.overClips),
      String(parameters),
      (operations.macs / 1e6).toFixed(2),
      (operations.additions / 1e6).toFixed(2),
      (operations.trafficBytes / 1e6).toFixed(1),
      fixed(firingRate, 3),
      (energy.totalPj / 1e6).toFixed(1),
      (energy.computePj / 1e6).toFixed(1),
      fixed(stateBytes === null ? null : stateBytes / 1000, 1),
      latencyMs.toFixed(2),
      ...(recalled
        ? [recallCell(recall?.symbols), recallCell(recall?.motions), fixed(recall?.blocking, 2)]
        : []),
    ];
  });
  return markdownTable(head, rows);
}

/** Firing rates at which spiking models meet the same ones without spikes, as a table in Markdown. */
export function crossoverTable({ models }: Pick<BenchModelsResult, 'models'>): string {
  const spiking = models.filter(({ measured }) => measured.crossovers.length > 0);
  if (spiking.length === 0) return '';
  const pair = ({ bits, otherBits }: Crossover): string =>
    `${typeName(bits)} against ${typeName(otherBits)}`;
  const [{ measured: first }] = spiking;
  const head = [
    'model',
    'rate',
    'M synapses',
    ...first.crossovers.flatMap((one) => [pair(one), 'compute alone']),
  ];
  const rows = spiking.map(({ model, measured: { operations, crossovers } }) => [
    `\`${model}\``,
    (operations.additions / operations.synapses).toFixed(3),
    (operations.synapses / 1e6).toFixed(2),
    ...crossovers.flatMap(({ rate, computeRate }) => [fixed(rate, 2), fixed(computeRate, 2)]),
  ]);
  return markdownTable(head, rows);
}

function typeName(bits: number): string {
  return bits === 32 ? 'float32' : `int${bits}`;
}

/** What `table.md` holds. */
export function benchReport(result: BenchModelsResult): string {
  const crossing = crossoverTable(result);
  if (crossing === '') return benchTable(result);
  return [
    benchTable(result),
    '',
    '## Where spikes take less than the same network without them',
    '',
    'Share of the products with spikes whose spike fires (rate), and the share below which the model takes less energy',
    'than the same network with multiply-accumulates in their place, values in place of one-bit spikes, and no state of',
    'neurons. Above 1: at any rate. Below 0: at none. A model that runs T steps for each bin that the other one takes',
    'in one has to stay below the rate of compute alone divided by T.',
    '',
    crossing,
  ].join('\n');
}

// Sizes in pixels.
const plot = { left: 70, top: 50, width: 460, height: 360 } as const;
/** Okabe and Ito's colours, which the colour-blind can tell apart. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];

const abscissas = {
  energy: {
    title: 'Accuracy against energy',
    label: 'energy of a clip, µJ (model)',
    of: ({ measured }: BenchedModel) => measured.energy.totalPj / 1e6,
  },
  state: {
    title: 'Accuracy against state',
    label: 'state between two bins, kB',
    of: ({ measured }: BenchedModel) =>
      measured.stateBytes === null ? null : measured.stateBytes / 1000,
  },
} as const;

/**
 * Accuracy with its interval over clips against energy or state (both logarithmic), as SVG. Models without the value, or
 * with 0 of it, are left out.
 */
export function benchAccuracyPlot(
  { models, synthetic }: Pick<BenchModelsResult, 'models' | 'synthetic'>,
  against: keyof typeof abscissas,
): string {
  const { title, label, of } = abscissas[against];
  const points = models.flatMap((model) => {
    const value = of(model);
    return value === null || value <= 0 ? [] : [{ model, value }];
  });
  const exponents = points.map(({ value }) => Math.log10(value));
  const low = exponents.length === 0 ? 0 : Math.floor(Math.min(...exponents));
  const high = Math.max(low + 1, Math.ceil(Math.max(low, ...exponents)));
  const { left, top, width, height } = plot;
  const xOf = (exponent: number): number => left + (width * (exponent - low)) / (high - low);
  const yOf = (share: number): number => top + height * (1 - share);
  const round = (value: number): string => value.toFixed(1);
  const text = (x: number, y: number, line: string, more = ''): string =>
    `<text x="${round(x)}" y="${round(y)}" ${more}>${escaped(line)}</text>`;

  const grid = [
    ...[0, 0.25, 0.5, 0.75, 1].map(
      (share) =>
        `<path d="M${left} ${round(yOf(share))}h${width}" stroke="#d6dde5"/>` +
        text(left - 8, yOf(share) + 4, `${100 * share} %`, 'text-anchor="end"'),
    ),
    ...Array.from({ length: high - low + 1 }, (_, i) => {
      const x = xOf(low + i);
      return (
        `<path d="M${round(x)} ${top}v${height}" stroke="#d6dde5"/>` +
        text(x, top + height + 18, String(10 ** (low + i)), 'text-anchor="middle"')
      );
    }),
  ];
  const marks = points.map(({ model, value }, i) => {
    const colour = colours[i % colours.length];
    const [x, y] = [xOf(Math.log10(value)), yOf(model.selected.mean)];
    const [from, to] = model.overClips.map(yOf);
    const keyY = top + 8 + 20 * i;
    const keyX = left + width + 24;
    return (
      `<path d="M${round(x)} ${round(from)}V${round(to)}" stroke="${colour}"/>` +
      `<circle cx="${round(x)}" cy="${round(y)}" r="4" fill="${colour}"/>` +
      text(x + 6, y - 6, String(i + 1), `fill="${colour}"`) +
      `<circle cx="${keyX}" cy="${keyY}" r="4" fill="${colour}"/>` +
      text(keyX + 10, keyY + 4, `${i + 1} ${model.model}`)
    );
  });
  const allHeight = Math.max(top + height + 60, top + 20 * points.length + 40);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 330}" height="${allHeight}" ` +
    `font-family="sans-serif" font-size="12" fill="#141c28"><rect width="100%" height="100%" fill="white"/>` +
    text(left, 28, `${title}${synthetic ? ' (SYNTHETIC recordings)' : ''}`, 'font-size="16"') +
    `${grid.join('')}${marks.join('')}` +
    `${text(left + width / 2, top + height + 40, label, 'text-anchor="middle"')}</svg>\n`
  );
}

function escaped(line: string): string {
  return line.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
