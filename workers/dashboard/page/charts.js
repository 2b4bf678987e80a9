import uPlot from './vendor/uPlot.js';

import { colour, onThemeChange } from './colours.js';
import { setText } from './dom.js';

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {string} colour a name of `theme.css`
 * @property {number[]} [dash]
 * @property {boolean} [points] whether values are marked
 */

/**
 * @typedef {object} ChartOptions
 * @property {string} title for those who cannot see it
 * @property {readonly Series[]} series
 * @property {(value: number) => string} x how places on the horizontal axis are written
 * @property {(value: number) => string} y
 * @property {readonly [number, number]} [range] of the vertical axis; otherwise from 0 to what the values need
 * @property {number} [span] of the horizontal axis, up to the last place; otherwise from the first place on
 * @property {boolean} [whole] whether the horizontal axis has whole numbers only
 * @property {HTMLElement} [readout] where the values under the pointer are written
 */

const font = '11px Inter, system-ui, sans-serif';

/**
 * A chart of lines over one axis, in the theme's colours and as wide as its place.
 *
 * @param {HTMLElement} place has the height.
 * @param {ChartOptions} options
 * @returns {{ set(columns: readonly (readonly (number | null)[])[]): void, remove(): void }} columns: places, then
 *   the values of each series.
 */
export function lineChart(place, { title, series, x, y, range, span, whole, readout }) {
  const axis = {
    stroke: () => colour('muted'),
    font,
    grid: { stroke: () => colour('line'), width: 1 },
    ticks: { show: false },
  };
  place.setAttribute('role', 'img');
  place.setAttribute('aria-label', title);
  const plot = new uPlot(
    {
      width: Math.max(place.clientWidth, 120),
      height: Math.max(place.clientHeight, 80),
      padding: [6, 14, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: {
          time: false,
          range: span === undefined ? undefined : (_, __, last) => [last - span, last],
        },
        y: {
          range: range ? [...range] : (_, __, highest) => [0, 1.08 * (highest || 1)],
        },
      },
      axes: [
        {
          ...axis,
          size: 24,
          gap: 4,
          space: 64,
          incrs: whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined,
          values: (_, places) => places.map(x),
        },
        { ...axis, size: 46, gap: 6, space: 32, values: (_, places) => places.map(y) },
      ],
      series: [
        {},
        ...series.map((line) => ({
          label: line.label,
          stroke: () => colour(line.colour),
          width: 1.75,
          dash: line.dash,
          points: {
            show: line.points ?? false,
            size: 5,
            stroke: () => colour(line.colour),
            fill: () => colour(line.colour),
          },
        })),
      ],
      hooks: {
        setCursor: [
          ({ cursor: { idx }, data }) => {
            if (readout !== undefined) setText(readout, readingAt(data, idx));
          },
        ],
      },
    },
    [[], ...series.map(() => [])],
    place,
  );

  /** The highest values at a place; more would not fit. @param {uPlot.AlignedData} data @param {number | null | undefined} index */
  function readingAt(data, index) {
    const at = index === null || index === undefined ? undefined : data[0][index];
    if (at === undefined) return '';
    const values = series
      .map(({ label }, i) => ({ label, value: data[i + 1][/** @type {number} */ (index)] }))
      .filter((reading) => typeof reading.value === 'number')
      .sort((a, b) => Number(b.value) - Number(a.value))
      .slice(0, 2)
      .map(({ label, value }) => `${label} ${y(Number(value))}`);
    return [x(at), ...values].join(' · ');
  }

  const sizes = new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = place;
    if (width > 0 && (width !== plot.width || height !== plot.height))
      plot.setSize({ width, height });
  });
  sizes.observe(place);
  const endThemes = onThemeChange(() => plot.redraw(false));
  return {
    set: (columns) => plot.setData(/** @type {uPlot.AlignedData} */ (columns)),
    remove() {
      endThemes();
      sizes.disconnect();
      plot.destroy();
      place.replaceChildren();
    },
  };
}
