// Splitting a command line into words as a POSIX shell does, without a shell.

/** The words of a command line, or a sentence about what is wrong with it. */
export function words(text: string): string[] | string {
  const result: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at] ?? '';
    if (quote === "'") {
      if (letter === "'") quote = undefined;
      else word = (word ?? '') + letter;
    } else if (letter === '\\') {
      const next = text[at + 1];
      if (next === undefined) return 'the command ends in a backslash';
      // In double quotes a backslash only escapes what would be special there.
      const kept = quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next;
      word = (word ?? '') + kept;
      at += 1;
    } else if (quote === '"') {
      if (letter === '"') quote = undefined;
      else word = (word ?? '') + letter;
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      word ??= '';
    } else if (/\s/.test(letter)) {
      if (word !== undefined) result.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + letter;
    }
  }
  if (quote !== undefined) return `the command has an unclosed ${quote}`;
  if (word !== undefined) result.push(word);
  return result;
}
