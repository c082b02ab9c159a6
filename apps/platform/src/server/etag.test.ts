import { expect, it } from 'vitest';
import { ifRevisionOf } from './etag.ts';

const of = (headers: Record<string, string>) => ifRevisionOf({ headers });

it('takes the revision of an ETag', () => {
  expect(of({ 'if-match': '"17"' })).toEqual({ ifRevision: 17 });
  expect(of({ 'if-match': 'W/"17"' })).toEqual({ ifRevision: 17 });
});

it('demands nothing without a header or with a star', () => {
  expect(of({})).toEqual({});
  expect(of({ 'if-match': '*' })).toEqual({});
});

it('demands that there is nothing yet for If-None-Match: *', () => {
  expect(of({ 'if-none-match': '*' })).toEqual({ ifRevision: 0 });
  expect(of({ 'if-none-match': '"3"' })).toEqual({});
});

it.each(['17', '"x"', '"1", "2"', '""', '"-1"'])('refuses %s', (header) => {
  expect(() => of({ 'if-match': header })).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
});
