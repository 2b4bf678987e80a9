import { describe, expect, it } from 'vitest';

import { parseConfig } from '../../engine/support/parseConfig.js';
import { pipeline, preprocessSchema } from '../../preprocess/pipeline/index.js';

const window = { kind: 'time', windowUs: 1_500_000 } as const;
const represent = { representation: 'histogram', bins: 16, height: 64, width: 64 } as const;

const fields = {
  filters: ['refractory:1000', 'backgroundActivity:5000'],
  window,
  ...represent,
  augmentations: ['flipX', 'translate:12'],
};

const steps = [
  { filter: 'refractory:1000' },
  { filter: 'backgroundActivity:5000' },
  { window },
  { represent },
  { augment: 'flipX' },
  { augment: 'translate:12' },
];

describe('preprocessing', () => {
  it('is one object, whether written as fields, as steps or as a chain', () => {
    const chain = pipeline()
      .filter('refractory:1000')
      .filter('backgroundActivity:5000')
      .window(window)
      .represent(represent)
      .augment('flipX')
      .augment('translate:12')
      .build();
    expect(chain).toEqual(preprocessSchema.parse(fields));
    expect(chain).toEqual(preprocessSchema.parse(steps));
    expect(chain.window).toEqual({ ...window, incomplete: 'pad' });
  });

  it('shares the beginning of a chain', () => {
    const windowed = pipeline().filter('refractory:1000').window(window);
    const one = windowed.represent({ bins: 4 }).augment('flipX').build();
    const other = windowed.represent({ bins: 5 }).build();
    expect([one.bins, one.augmentations]).toEqual([4, ['flipX']]);
    expect([other.bins, other.augmentations]).toEqual([5, []]);
    expect(one.filters).toEqual(other.filters);
  });

  it('does not compile in another order', () => {
    const start = pipeline();
    // @ts-expect-error a stream is cut before it is represented
    expect(() => start.represent(represent)).toThrow(TypeError);
    // @ts-expect-error filters come before the cut
    expect(() => start.window(window).filter('refractory:1000')).toThrow(TypeError);
    // @ts-expect-error augmentations come last
    expect(() => start.augment('flipX')).toThrow(TypeError);
    // @ts-expect-error windows are represented once
    expect(() => start.window(window).represent({}).represent({})).toThrow(TypeError);
    // @ts-expect-error without a representation there is nothing that a model could read
    expect(() => start.window(window).build()).toThrow(TypeError);
  });

  it.each([
    ['1.filter', /cut/, [{ window }, { filter: 'refractory:1' }, { represent }]],
    ['1.window', /once/, [{ window }, { window }, { represent }]],
    ['2.window', /once/, [{ window }, { represent }, { window }]],
    ['0.represent', /no window/, [{ represent }, { window }]],
    ['1.augment', /no represent/, [{ window }, { augment: 'flipX' }, { represent }]],
    ['2.represent', /once/, [{ window }, { represent }, { represent }]],
    ['1.represent', /expected representation/, [{ window }, { represent: 'histogram' }]],
    ['0', /expected one of filter, window/, [{ blur: 3 }, { window }, { represent }]],
    ['0', /expected one of/, ['window']],
    [undefined, /no step window/, []],
    [undefined, /no step represent/, [{ window }]],
  ])('is refused with a reason at %s', (field, reason, value) => {
    let error: unknown;
    try {
      parseConfig(preprocessSchema, value, 'a.yaml');
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ kind: 'config', place: { file: 'a.yaml', field } });
    expect((error as Error).message).toMatch(reason);
  });

  it.each([
    [{ kind: 'count', count: 5, incomplete: 'pad' }, /no duration to pad/],
    [{ kind: 'rate', events: 5, minimumUs: 10, maximumUs: 9 }, /at least minimumUs/],
    [{ kind: 'timeOrCount', windowUs: 10 }, /count/],
  ])('refuses the window %j', (wrong, reason) => {
    expect(() => parseConfig(preprocessSchema, { window: wrong })).toThrow(reason);
  });

  it('names the step of a chain whose settings are wrong', () => {
    const wrong = pipeline().filter('refractry:1').window(window).represent({});
    expect(() => wrong.build()).toThrow(/filters\.0.*refractry/);
  });
});
