const probe = document.createElement('span');
probe.hidden = true;
document.documentElement.append(probe);

/** @type {Map<string, string>} */
const known = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * A colour of `theme.css` as a canvas wants it, in the theme that is shown.
 *
 * @param {string} name without the dashes, e.g. `series-1`.
 * @returns {string} `rgb(…)`
 */
export function colour(name) {
  let value = known.get(name);
  if (value === undefined) {
    probe.style.color = `var(--${name})`;
    value = getComputedStyle(probe).color;
    known.set(name, value);
  }
  return value;
}

/** @param {string} name @returns {[red: number, green: number, blue: number]} 0 … 255 */
export function rgb(name) {
  const [red, green, blue] = colour(name)
    .match(/[\d.]+/g)
    ?.map(Number) ?? [0, 0, 0];
  return [red, green, blue];
}

/**
 * Called when another theme is shown: what is drawn must be drawn again.
 *
 * @param {() => void} listener
 * @returns {() => void} ends it.
 */
export function onThemeChange(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** @param {string} theme `light`, `dark` or `auto` */
export function setTheme(theme) {
  if (theme === 'auto') {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem('theme');
  } else {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem('theme', theme);
  }
  changed();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);

function changed() {
  known.clear();
  for (const listener of listeners) listener();
}

const seriesColours = 8;

/**
 * How the n-th of several lines looks: eight colours, then the same with dashes, then with dots.
 *
 * @param {number} index from 0
 */
export function seriesLook(index) {
  const round = Math.floor(index / seriesColours) % 3;
  return {
    colour: `series-${(index % seriesColours) + 1}`,
    dash: [undefined, [6, 4], [2, 3]][round],
  };
}
