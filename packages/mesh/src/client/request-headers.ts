// Request headers in the forms undici takes, as one flat list.

import type { Dispatcher } from 'undici';

/** Name, value, name, value... */
export type FlatHeaders = string[];

/** Copies headers of any form undici takes into a flat list. */
export function flattenHeaders(headers: Dispatcher.DispatchOptions['headers']): FlatHeaders {
  const flat: FlatHeaders = [];
  if (headers === null || headers === undefined) return flat;
  if (Array.isArray(headers) && typeof headers[0] === 'string') {
    for (const text of headers) flat.push(String(text));
    return flat;
  }
  const pairs: Iterable<unknown> = Symbol.iterator in headers ? headers : Object.entries(headers);
  for (const pair of pairs) {
    if (!Array.isArray(pair)) continue;
    const [name, value] = pair;
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) flat.push(String(name), String(one));
    }
  }
  return flat;
}

/** A header's value by lower-case name. */
export function headerOf(headers: FlatHeaders, name: string): string | undefined {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index]?.toLowerCase() === name) return headers[index + 1];
  }
  return undefined;
}

/** Sets a header, replacing it when it is there. */
export function setHeader(headers: FlatHeaders, name: string, value: string): void {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index]?.toLowerCase() === name) {
      headers[index + 1] = value;
      return;
    }
  }
  headers.push(name, value);
}
