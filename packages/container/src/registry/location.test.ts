import { describe, expect, it } from 'vitest';
import { isLoopback, locate } from './location.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('where a reference leads', () => {
  it.each([
    ['alpine', 'registry-1.docker.io', 'library/alpine', 'latest'],
    ['docker.io/alpine:3', 'registry-1.docker.io', 'library/alpine', '3'],
    ['team/app', 'registry-1.docker.io', 'team/app', 'latest'],
    ['localhost/app:1', 'localhost', 'app', '1'],
    ['localhost:5000/a/b/c:x', 'localhost:5000', 'a/b/c', 'x'],
    ['quay.io/org/app:v1', 'quay.io', 'org/app', 'v1'],
    ['[::1]:5000/app', '[::1]:5000', 'app', 'latest'],
  ])('%s', (reference, host, repository, tag) => {
    expect(locate(reference)).toMatchObject({ host, repository, tag });
  });

  it('keeps tag and digest', () => {
    expect(locate(`quay.io/a:1@${DIGEST}`)).toMatchObject({ repository: 'a', tag: '1', digest: DIGEST });
  });

  it('knows what never leaves the machine', () => {
    expect(['localhost', '127.0.0.1', '127.9.8.7', '[::1]', 'a.localhost'].every(isLoopback)).toBe(true);
    expect(
      ['localhost.example', '128.0.0.1', '10.0.0.1', '127.0.0.1.example', '[::2]'].some(isLoopback),
    ).toBe(false);
  });
});
