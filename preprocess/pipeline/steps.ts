/**
 * One step of a pipeline as it is written in a list, an object with one key:
 *
 *     - filter: refractory:1000
 *     - window: { kind: time, windowUs: 1500000 }
 *     - represent: { representation: histogram, bins: 16, height: 64, width: 64 }
 *     - augment: translate:12
 */
export type PipelineStep = Readonly<Record<string, unknown>>;

/** The kinds of steps in the only order that makes sense, and why not earlier or later. */
const order = ['filter', 'window', 'represent', 'augment'] as const;
type StepKind = (typeof order)[number];

/** A pipeline has one of them, not more or less. */
const once: readonly StepKind[] = ['window', 'represent'];

const reasons: Readonly<Record<StepKind, string>> = {
  filter: 'filters carry their state from one window to the next, so they come before the cut',
  window: 'a stream is cut into windows once, after filters and before anything is represented',
  represent: 'windows are what is represented, once',
  augment: 'augmentations are drawn anew in every epoch, so they come after all that is kept',
};

/** The fields of a pipeline, or the place of the first step that is refused, and why. */
export type OrderedSteps =
  | { readonly config: Readonly<Record<string, unknown>> }
  | { readonly path: (string | number)[]; readonly refusal: string };

export function isStepList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/** Turns a list of steps into the fields of a pipeline; the values are for the schema to check. */
export function orderSteps(steps: readonly unknown[]): OrderedSteps {
  const values: Record<StepKind, unknown[]> = {
    filter: [],
    window: [],
    represent: [],
    augment: [],
  };
  /** Steps of a kind that there is one of, which must have come before a place in the order. */
  const missingBefore = (place: number): StepKind | undefined =>
    order.slice(0, place).find((kind) => once.includes(kind) && values[kind].length === 0);
  let reached = 0;
  for (const [i, step] of steps.entries()) {
    const keys = typeof step === 'object' && step !== null ? Object.keys(step) : [];
    const kind = order.find((known) => known === keys[0]);
    if (keys.length !== 1 || kind === undefined) {
      return { path: [i], refusal: `expected one of ${order.join(', ')} and its settings` };
    }
    const place = order.indexOf(kind);
    if (place < reached || (once.includes(kind) && values[kind].length > 0)) {
      return { path: [i, kind], refusal: `out of order: ${reasons[kind]}` };
    }
    const missing = missingBefore(place);
    if (missing !== undefined) {
      return { path: [i, kind], refusal: `no ${missing} comes before it: ${reasons[missing]}` };
    }
    values[kind].push((step as Record<string, unknown>)[kind]);
    reached = place;
  }
  const missing = missingBefore(order.length);
  if (missing !== undefined) {
    return { path: [], refusal: `has no step ${missing}: ${reasons[missing]}` };
  }
  const { filter: filters, augment: augmentations } = values;
  const [window] = values.window;
  const [represent] = values.represent;
  if (typeof represent !== 'object' || represent === null) {
    const path = [steps.findIndex((step) => 'represent' in (step as object)), 'represent'];
    return { path, refusal: 'expected representation, bins, height and width' };
  }
  return { config: { ...represent, filters, window, augmentations } };
}
