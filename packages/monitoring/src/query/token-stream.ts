// A cursor over tokens with the few questions the parser asks.

import type { Token } from './lexer.ts';
import { invalidQuery } from './query-error.ts';

const END: Token = { kind: 'end', text: '', start: 0, end: 0 };

/** The tokens of one query. */
export class TokenStream {
  readonly #query: string;
  readonly #tokens: readonly Token[];
  #index = 0;

  constructor(query: string, tokens: readonly Token[]) {
    this.#query = query;
    this.#tokens = tokens;
  }

  peek(ahead = 0): Token {
    return this.#tokens[this.#index + ahead] ?? this.#tokens.at(-1) ?? END;
  }

  next(): Token {
    const token = this.peek();
    if (token.kind !== 'end') this.#index++;
    return token;
  }

  /** Where the token taken last ends. */
  get previousEnd(): number {
    return this.#tokens[this.#index - 1]?.end ?? 0;
  }

  isPunctuation(text: string): boolean {
    const token = this.peek();
    return token.kind === 'punctuation' && token.text === text;
  }

  takePunctuation(text: string): boolean {
    if (!this.isPunctuation(text)) return false;
    this.#index++;
    return true;
  }

  /** Takes the keyword if it stands here, in any case. */
  takeWord(word: string): boolean {
    return this.takeOneOf(word) !== undefined;
  }

  takeOneOf(...words: readonly string[]): string | undefined {
    const token = this.peek();
    const lower = token.text.toLowerCase();
    if (token.kind !== 'identifier' || !words.includes(lower)) return undefined;
    this.#index++;
    return lower;
  }

  expect(text: string): Token {
    const token = this.peek();
    if (!this.isPunctuation(text)) {
      const found = token.kind === 'end' ? 'the query ends' : `"${token.text}" stands`;
      throw invalidQuery(this.#query, token.start, `${found} here, but "${text}" is expected`);
    }
    return this.next();
  }

  expectEnd(): void {
    const token = this.peek();
    if (token.kind !== 'end')
      throw invalidQuery(this.#query, token.start, `unexpected "${token.text}" after a complete expression`);
  }

  /** `(a, b, "c.d")`, where the last comma may stay. */
  labelList(): string[] {
    this.expect('(');
    const labels: string[] = [];
    while (!this.isPunctuation(')')) {
      const token = this.next();
      const plain = token.kind === 'identifier' && !token.text.includes(':');
      if (!plain && token.kind !== 'string')
        throw invalidQuery(this.#query, token.start, `"${token.text}" is not a label name`);
      labels.push(token.text);
      if (!this.takePunctuation(',')) break;
    }
    this.expect(')');
    return labels;
  }
}
