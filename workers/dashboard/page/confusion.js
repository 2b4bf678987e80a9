import { element, setStyle } from './dom.js';
import { count, percent } from './format.js';

/**
 * A confusion matrix as a table: rows are true classes, columns predictions; each cell has its count, and the
 * stronger its colour, the larger its share of the row.
 *
 * @param {readonly (readonly number[])[]} matrix
 * @param {readonly string[]} classes
 */
export function confusionTable(matrix, classes) {
  const nameOf = (/** @type {number} */ i) => classes[i] ?? String(i);
  return element(
    'table',
    { class: 'confusion' },
    element('caption', {}, 'Confusion: true classes in rows, predictions in columns'),
    element(
      'thead',
      {},
      element(
        'tr',
        {},
        element('td', {}),
        ...matrix.map((_, i) =>
          element('th', { scope: 'col', title: nameOf(i) }, element('span', {}, nameOf(i))),
        ),
      ),
    ),
    element(
      'tbody',
      {},
      ...matrix.map((row, i) => {
        const total = row.reduce((sum, value) => sum + value, 0);
        return element(
          'tr',
          {},
          element('th', { scope: 'row', title: nameOf(i) }, nameOf(i)),
          ...row.map((value, j) => {
            const share = total === 0 ? 0 : value / total;
            const cell = element(
              'td',
              {
                class:
                  [value === 0 && 'none', i === j && 'right'].filter(Boolean).join(' ') ||
                  undefined,
                title: `${count(value)} of ${count(total)} of ${nameOf(i)} taken for ${nameOf(j)} (${percent(share)})`,
              },
              count(value),
            );
            setStyle(cell, '--share', share);
            return cell;
          }),
        );
      }),
    ),
  );
}
