/**
 * Number of words into which a sequence falls when each is the shortest that hasn't occurred before (Lempel & Ziv 1976, by
 * the scan of Kaspar & Schuster 1987).
 */
export function lempelZivWords(sequence: ArrayLike<number>): number {
  const { length } = sequence;
  if (length === 0) return 0;
  let words = 1;
  let start = 1;
  let longest = 1;
  for (let from = 0; start < length;) {
    let match = 0;
    while (start + match < length && sequence[from + match] === sequence[start + match]) match++;
    // Reached the end with a match: what is left is the last word.
    if (start + match >= length) return words + 1;
    longest = Math.max(longest, match + 1);
    from++;
    if (from === start) {
      words++;
      start += longest;
      longest = 1;
      from = 0;
    }
  }
  return words;
}

/** Words times log₂(n) / n: about 1 for random spikes at a rate of 1/2, near 0 for constant ones. */
export function lempelZivComplexity(sequence: ArrayLike<number>): number {
  const { length } = sequence;
  return length < 2 ? 0 : (lempelZivWords(sequence) * Math.log2(length)) / length;
}
