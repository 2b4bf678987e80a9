const thousands = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** @param {number} value */
export const count = (value) => thousands.format(value);

/** "950", "12.3k", "4.56M". @param {number} value */
export const short = (value) => compact.format(value).replace('K', 'k');

/** "83 %", or "83.3 %". @param {number} share @param {number} [digits] */
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** A time in a stream: "12.40 s". @param {number} us */
export const seconds = (us) => `${(us / 1e6).toFixed(2)} s`;

/** @param {number} ms */
export const milliseconds = (ms) => `${ms > 0 && ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

/** Three significant digits. @param {number} value */
export const digits = (value) => String(Number(value.toPrecision(3)));

const clock = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

/** Milliseconds since 1970 as date and time of day. @param {number} ms */
export const moment = (ms) => clock.format(ms);

/** "8 s", "3 min", "2 h", "5 d". @param {number} ms */
export function duration(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}
