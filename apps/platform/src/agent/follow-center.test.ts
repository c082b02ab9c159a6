import { describe, expect, it } from 'vitest';
import { decideDuty, NO_PRIMARY_GRACE_MS } from './follow-center.ts';

const idle = { onDuty: false, clean: true, withoutPrimaryMs: 0 };
const busy = { onDuty: true, clean: false, withoutPrimaryMs: 0 };

describe('decideDuty', () => {
  it('begins at the primary, once', () => {
    expect(decideDuty({ standing: { role: 'primary' }, ...idle })).toBe('begin');
    expect(decideDuty({ standing: { role: 'primary' }, ...busy })).toBe('keep');
  });

  it('ends when another centre is primary, and cleans up what an earlier agent left', () => {
    const standing = { role: 'backup', primary: 'south' };
    expect(decideDuty({ standing, ...busy })).toBe('end');
    expect(decideDuty({ standing, ...busy, onDuty: false })).toBe('end');
    expect(decideDuty({ standing, ...idle })).toBe('keep');
  });

  it('keeps what runs while the server is silent, and for a while when there is no primary', () => {
    expect(decideDuty({ standing: undefined, ...busy, withoutPrimaryMs: 1e9 })).toBe('keep');
    const standing = { role: 'backup' };
    expect(decideDuty({ standing, ...busy, withoutPrimaryMs: NO_PRIMARY_GRACE_MS })).toBe('keep');
    expect(decideDuty({ standing, ...busy, withoutPrimaryMs: NO_PRIMARY_GRACE_MS + 1 })).toBe('end');
  });
});
