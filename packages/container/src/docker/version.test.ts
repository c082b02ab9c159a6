import { describe, expect, it } from 'vitest';
import { agreeOnApi, compareApiVersions, NEWEST_API } from './version.ts';

describe('agreeOnApi', () => {
  it('takes the engine’s version when it is older, ours when it is newer', () => {
    expect(agreeOnApi({ newest: '1.41', oldest: '1.12' })).toBe('1.41');
    expect(agreeOnApi({ newest: '1.99', oldest: '1.40' })).toBe(NEWEST_API);
    expect(agreeOnApi({ newest: '1.44' })).toBe('1.44');
  });

  it('compares numbers, not text', () => {
    expect(compareApiVersions('1.9', '1.41')).toBeLessThan(0);
    expect(compareApiVersions('2.0', '1.41')).toBeGreaterThan(0);
  });

  it('names both ranges when there is no common version', () => {
    expect(() => agreeOnApi({ newest: '1.30', oldest: '1.12' })).toThrow(/1\.12 to 1\.30.*1\.40/);
    expect(() => agreeOnApi({ newest: '2.9', oldest: '2.0' })).toThrow(/2\.0 to 2\.9/);
  });
});
