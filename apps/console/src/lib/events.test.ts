import { describe, expect, it } from 'vitest';
import { MAX_EVENTS, mergeEvents, objectName, parseEvent } from './events.ts';

const event = (at: number, op = 'create') => ({
  at,
  object: 'Service/default/web',
  op,
  because: 'b',
  source: 's',
});

describe('events', () => {
  it('are shown newest first, each once, and bounded', () => {
    expect(
      mergeEvents([event(3), event(1)], [event(2), event(3), event(3, 'delete')]).map(
        ({ at, op }) => `${at}${op}`,
      ),
    ).toEqual(['3create', '3delete', '2create', '1create']);
    const many = Array.from({ length: 700 }, (_, at) => event(at));
    expect(mergeEvents([], many)).toHaveLength(MAX_EVENTS);
    expect(mergeEvents([], many)[0]?.at).toBe(699);
  });

  it('are read from anything without failing', () => {
    expect(parseEvent({ ...event(1), more: 1 })).toEqual(event(1));
    for (const nonsense of [null, 'x', {}, { at: 'x', object: 'y' }, { at: 1 }])
      expect(parseEvent(nonsense)).toBeUndefined();
  });

  it('name their object', () => {
    expect(objectName('Service/default/web')).toEqual({ kind: 'Service', name: 'web' });
    expect(objectName('Node/other/n1')).toEqual({ kind: 'Node', name: 'other/n1' });
    expect(objectName('platform')).toEqual({ kind: 'platform', name: '' });
  });
});
