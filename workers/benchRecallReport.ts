import type { MeasuredMixer, RecallScore } from './benchRecallResult.js';
import { fixed, interval, markdownTable, percent } from './markdownTable.js';

/** The mean over seeds, and its interval where there are several. */
export function recallCell(score: RecallScore | null | undefined): string {
  if (score === null || score === undefined) return '-';
  const { mean, interval95 } = score.accuracy;
  return interval95 === null ? percent(mean) : `${percent(mean)} (${interval(interval95)})`;
}

/** What mixers alone remember, as a table in Markdown. */
export function benchRecallTable({
  mixers,
}: {
  readonly mixers: readonly MeasuredMixer[];
}): string {
  const head = ['mixer', 'MQAR', 'event MQAR', 'blocking', 'parameters', 'state, bytes'];
  return markdownTable(
    head,
    mixers.map(({ mixer, symbols, motions, blocking }) => {
      const any = symbols ?? motions;
      return [
        `\`${mixer}\``,
        recallCell(symbols),
        recallCell(motions),
        fixed(blocking, 2),
        fixed(any?.parameters, 0),
        fixed(any?.stateBytes, 0),
      ];
    }),
  );
}
