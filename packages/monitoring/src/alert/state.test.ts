import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Alert, type AlertRule, type AlertStep, beginAlert, nextAlert, renderSummary } from './state.ts';

const STEP_MS = 1000;

function drive(rule: AlertRule, holds: readonly boolean[]): { states: string[]; transitions: string[] } {
  const states: string[] = [];
  const transitions: string[] = [];
  let current: Alert | undefined;
  holds.forEach((hold, index) => {
    const now = index * STEP_MS;
    const observation = hold ? { value: index, summary: 's' } : undefined;
    let step: AlertStep = { alert: undefined };
    if (current !== undefined) step = nextAlert(current, observation, rule, now);
    else if (observation !== undefined) step = beginAlert(rule, 'f', {}, observation, now);
    if (step.transition !== undefined) transitions.push(step.transition);
    states.push(step.alert?.state ?? 'inactive');
    current = step.alert?.state === 'resolved' ? undefined : step.alert;
  });
  return { states, transitions };
}

describe('nextAlert', () => {
  it('waits for `for`, fires, resolves', () => {
    const rule = { name: 'r', expression: 'x', forMs: 2000 };
    expect(drive(rule, [true, true, true, true, false, false])).toEqual({
      states: ['pending', 'pending', 'firing', 'firing', 'resolved', 'inactive'],
      transitions: ['fired', 'resolved'],
    });
  });

  it('begins again when it stopped holding before `for` was over', () => {
    const rule = { name: 'r', expression: 'x', forMs: 2000 };
    expect(drive(rule, [true, true, false, true, true]).states).toEqual([
      'pending',
      'pending',
      'inactive',
      'pending',
      'pending',
    ]);
  });

  it('fires at once without `for`', () => {
    expect(drive({ name: 'r', expression: 'x' }, [true]).states).toEqual(['firing']);
  });

  it('keeps firing over short gaps with keepFiringForMs', () => {
    const rule = { name: 'r', expression: 'x', keepFiringForMs: 2000 };
    expect(drive(rule, [true, false, true, false, false, false]).states).toEqual([
      'firing',
      'firing',
      'firing',
      'firing',
      'resolved',
      'inactive',
    ]);
  });

  it('always says fired and resolved in turns, beginning with fired', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), fc.nat(5), fc.nat(5), (holds, wait, keep) => {
        const rule = { name: 'r', expression: 'x', forMs: wait * STEP_MS, keepFiringForMs: keep * STEP_MS };
        drive(rule, holds).transitions.forEach((transition, index) => {
          expect(transition).toBe(index % 2 === 0 ? 'fired' : 'resolved');
        });
      }),
    );
  });
});

describe('renderSummary', () => {
  it('fills the value and labels in', () => {
    expect(renderSummary('{{ $labels.service }} has {{$value}} errors', { service: 'orders' }, 1 / 3)).toBe(
      'orders has 0.333333 errors',
    );
  });
});
