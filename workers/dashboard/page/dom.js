/**
 * @template {string} Tag
 * @typedef {Tag extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Tag] : HTMLElement} Tagged
 */

/**
 * An element. Strings among the children become text, never markup, so names of classes and files may hold anything.
 * Functions among the attributes listen to the event of their name; `false` and `undefined` leave one out.
 *
 * @template {string} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string)} children
 * @returns {Tagged<Tag>}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') {
      made.addEventListener(name, /** @type {EventListener} */ (value));
    } else if (value !== false && value !== undefined) {
      made.setAttribute(name, value === true ? '' : String(value));
    }
  }
  made.append(...children);
  return /** @type {Tagged<Tag>} */ (made);
}

/**
 * The element of the page with this id.
 *
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @returns {Kind}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return /** @type {Kind} */ (found);
}

/**
 * Sets a custom property: the policy of the page's contents allows no style attributes, but this.
 *
 * @param {HTMLElement} target
 * @param {string} name
 * @param {string | number} value
 */
export function setStyle(target, name, value) {
  target.style.setProperty(name, String(value));
}

/**
 * Sets text only where it differs, so that nobody's selection and no screen reader is disturbed.
 *
 * @param {HTMLElement} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Fills a list of choices anew, and keeps what was chosen where it is still there.
 *
 * @param {HTMLSelectElement} select
 * @param {readonly { readonly value: string, readonly label: string }[]} choices
 * @param {string} [none] what stands there where there are none.
 */
export function setChoices(select, choices, none = 'none') {
  const key = JSON.stringify(choices);
  if (select.dataset.choices === key) return;
  select.dataset.choices = key;
  const { value } = select;
  select.replaceChildren(
    ...(choices.length > 0
      ? choices.map((choice) => element('option', { value: choice.value }, choice.label))
      : [element('option', { value: '' }, none)]),
  );
  if (choices.some((choice) => choice.value === value)) select.value = value;
  select.disabled = choices.length === 0;
}

/**
 * Says how something stands.
 *
 * @param {HTMLElement} target
 * @param {'waiting' | 'busy' | 'good' | 'bad'} state
 * @param {string} text
 */
export function setState(target, state, text) {
  target.dataset.state = state;
  setText(target, text);
}

/**
 * A sentence above the contents of a view; nothing hides it.
 *
 * @param {HTMLElement} target
 * @param {string} [text]
 * @param {'note' | 'error'} [kind]
 */
export function setNotice(target, text = '', kind = 'note') {
  target.hidden = text === '';
  target.dataset.kind = kind;
  setText(target, text);
}
