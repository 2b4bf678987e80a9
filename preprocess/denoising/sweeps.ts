/** The calls of one filter that make up a curve. */
export interface Sweep {
  readonly filter: string;
  /** What goes from least to greatest, with what stays as it is, for people. */
  readonly swept: string;
  readonly calls: readonly string[];
}

const windowsUs = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 500_000];

function sweep(
  filter: string,
  swept: string,
  values: readonly number[],
  argumentsOf: (value: number) => string,
): Sweep {
  return { filter, swept, calls: values.map((value) => `${filter}:${argumentsOf(value)}`) };
}

/** Every filter that tells noise from signal. One more is one entry here. */
export const sweeps: readonly Sweep[] = [
  sweep('backgroundActivity', 'windowUs', windowsUs, String),
  sweep('spatiotemporalCorrelation', 'windowUs, support 2', windowsUs, (us) => `${us},2`),
  sweep('spatiotemporalCorrelation', 'windowUs, support 3', windowsUs, (us) => `${us},3`),
  sweep(
    'doubleWindow',
    'distance, length 100',
    [1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 30, 50],
    (distance) => `100,${distance}`,
  ),
  sweep('yNoise', 'windowUs, density 3', windowsUs, (us) => `${us},3`),
  sweep(
    'timeDecay',
    'threshold, decayUs 10000',
    [0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2, 3, 4, 5],
    (threshold) => `10000,${threshold}`,
  ),
  sweep('hotPixels', 'minimumHz', [5, 10, 20, 50, 100, 200, 500, 1000], String),
];
