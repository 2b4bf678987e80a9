import { readFileSync } from 'node:fs';

import type { z } from 'zod';

import { SaccadeError } from '../engine/support/errors.js';
import { parseConfig } from '../engine/support/parseConfig.js';

/** A number that a filter or an augmentation is called with. */
export interface ArgumentDefinition<A extends string = string> {
  readonly name: A;
  /** Least and greatest value, both allowed. */
  readonly minimum: number;
  readonly maximum: number;
  /** Only whole numbers are allowed. */
  readonly integer?: boolean;
  /** The value where the call gives none; without it, the call has to give one. */
  readonly default?: number;
  /** What the number says, with its unit, for help and errors. */
  readonly what: string;
}

/** A text that a call has to give, always by name; it can hold no comma. */
export interface TextDefinition {
  readonly name: string;
  /** What the text says, for help and errors. */
  readonly what: string;
  /**
   * The form that stands in the description: the same for texts that mean the same, and whole in itself,
   * so that a file's name becomes what is in the file.
   *
   * @throws SaccadeError that says what was expected.
   */
  canonical(text: string): string;
}

/** Something that is called as text, `name:arguments`, and makes a `T` of the arguments' values. */
export interface CallDefinition<T, A extends string = string> {
  readonly name: string;
  /** One line for help. */
  readonly summary: string;
  /** In the order of a call without names; those with a default come last. */
  readonly arguments: readonly ArgumentDefinition<A>[];
  readonly texts?: readonly TextDefinition[];
  /** @param texts in canonical form, by name. */
  create(values: Readonly<Record<A, number>>, texts: Readonly<Record<string, string>>): T;
}

/** A parsed call. */
export interface Call<T> {
  /**
   * The call in its canonical form, with the name and value of every argument, for instance
   * `backgroundActivity:windowUs=2000,neighbours=1`. Calls that mean the same have the same.
   */
  readonly description: string;
  readonly value: T;
}

/** How something is called, for help: `backgroundActivity:windowUs[,neighbours=1]`. */
export function signature(definition: Omit<CallDefinition<unknown>, 'create'>): string {
  const numbers = definition.arguments.map((argument, i) => {
    const separator = i === 0 ? ':' : ',';
    return argument.default === undefined
      ? `${separator}${argument.name}`
      : `[${separator}${argument.name}=${argument.default}]`;
  });
  const texts = (definition.texts ?? []).map(({ name }, i) => {
    const separator = i + numbers.length === 0 ? ':' : ',';
    return `${separator}${name}=…`;
  });
  return [definition.name, ...numbers, ...texts].join('');
}

/**
 * Parses `name`, `name:1000`, `name:1000,2`, `name:periodUs=1000,neighbours=2` or a mix, in which named
 * arguments come last.
 *
 * @param kind what the definitions are, for errors, for instance `filter`.
 * @throws SaccadeError of kind `usage` that quotes the call and says which argument was expected how.
 */
export function parseCall<T>(
  kind: string,
  definitions: readonly CallDefinition<T>[],
  text: string,
): Call<T> {
  const colon = text.indexOf(':');
  const name = (colon < 0 ? text : text.slice(0, colon)).trim();
  const definition = definitions.find((known) => known.name === name);
  if (definition === undefined) {
    const known = definitions.map((each) => signature(each)).join('; ');
    throw new SaccadeError('usage', `unknown ${kind} "${name}", known are ${known}`);
  }
  const wrong = (message: string): SaccadeError =>
    new SaccadeError('usage', `${kind} "${text}": ${message}`);
  const given = colon < 0 ? [] : text.slice(colon + 1).split(',');
  const textDefinitions = definition.texts ?? [];
  const isText = (part: string): boolean =>
    textDefinitions.some((each) => each.name === part.split('=', 1)[0].trim());
  const numbers = given.filter((part) => !isText(part));
  const values = parseValues(definition.arguments, numbers, signature(definition), wrong);
  const texts = parseTexts(textDefinitions, given.filter(isText), wrong);

  const pairs = [
    ...definition.arguments.map((argument) => `${argument.name}=${values[argument.name]}`),
    ...textDefinitions.map((text) => `${text.name}=${texts[text.name]}`),
  ];
  const description = pairs.length === 0 ? name : `${name}:${pairs.join(',')}`;
  return { description, value: definition.create(values, texts) };
}

function parseTexts(
  known: readonly TextDefinition[],
  given: readonly string[],
  wrong: (message: string) => SaccadeError,
): Record<string, string> {
  const texts = known.map(({ name, what, canonical }): [string, string] => {
    const [part, again] = given.filter((each) => each.split('=', 1)[0].trim() === name);
    if (part === undefined) throw wrong(`${name} is missing, expected ${name}=… (${what})`);
    if (again !== undefined) throw wrong(`${name} is given twice`);
    const equals = part.indexOf('=');
    if (equals < 0) throw wrong(`${name} has no value, expected ${name}=… (${what})`);
    return [name, canonical(part.slice(equals + 1).trim())];
  });
  return Object.fromEntries(texts);
}

function parseValues(
  known: readonly ArgumentDefinition[],
  given: readonly string[],
  usage: string,
  wrong: (message: string) => SaccadeError,
): Record<string, number> {
  const values = new Map<string, number>();
  let named = false;
  for (const [i, part] of given.entries()) {
    const equals = part.indexOf('=');
    if (equals >= 0) named = true;
    else if (named) throw wrong(`"${part}" must have a name, since it follows a named argument`);

    const name = part.slice(0, Math.max(equals, 0)).trim();
    const argument = equals < 0 ? known[i] : known.find((each) => each.name === name);
    if (argument === undefined) {
      const surplus = equals < 0 ? `"${part}" is too much` : `there is no argument "${name}"`;
      throw wrong(`${surplus}, expected ${usage}`);
    }
    if (values.has(argument.name)) throw wrong(`${argument.name} is given twice`);
    values.set(argument.name, parseValue(argument, part.slice(equals + 1).trim(), wrong));
  }
  for (const argument of known) {
    if (values.has(argument.name)) continue;
    if (argument.default === undefined) {
      throw wrong(`${argument.name} is missing, expected ${expectation(argument)}`);
    }
    values.set(argument.name, argument.default);
  }
  return Object.fromEntries(values);
}

const decimal = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

function parseValue(
  argument: ArgumentDefinition,
  text: string,
  wrong: (message: string) => SaccadeError,
): number {
  const value = decimal.test(text) ? Number(text) : NaN;
  const allowed =
    value >= argument.minimum &&
    value <= argument.maximum &&
    (argument.integer !== true || Number.isInteger(value));
  if (!allowed) throw wrong(`${argument.name} is "${text}", expected ${expectation(argument)}`);
  return value + 0;
}

function expectation({ integer, minimum, maximum, what }: ArgumentDefinition): string {
  const number = integer === true ? 'a whole number' : 'a number';
  return `${number} from ${minimum} to ${maximum} (${what})`;
}

/**
 * A text that stands for data: `@` and the name of a JSON file, or what `dataText` makes of the data. The latter
 * stands in the description, so that it is whole without the file, and another one once the file has changed.
 */
export function dataDefinition(
  name: string,
  what: string,
  schema: z.ZodType<unknown>,
): TextDefinition {
  return {
    name,
    what: `${what}: @ and the name of a JSON file`,
    canonical(text) {
      const file = text.startsWith('@') ? text.slice(1) : undefined;
      return dataText(
        parseConfig(schema, file === undefined ? dataOf(text) : readJson(file), file),
      );
    },
  };
}

/** Data as a text without commas: base64url of their JSON. */
export function dataText(data: unknown): string {
  return Buffer.from(JSON.stringify(data)).toString('base64url');
}

/** What such a text says; undefined where it is none. */
export function dataOf(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    return undefined;
  }
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === undefined ? `is no JSON (${message})` : `cannot be read (${code})`;
    throw new SaccadeError('input', why, { file }, error);
  }
}
