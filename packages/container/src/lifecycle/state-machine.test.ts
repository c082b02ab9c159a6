import type { ContainerState } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { nextState, requireNextState, type Transition } from './state-machine.ts';

const states: ContainerState[] = ['created', 'running', 'paused', 'stopped', 'removed'];

describe('the state machine', () => {
  it('allows exactly the transitions of the contract', () => {
    const table = Object.fromEntries(
      (['start', 'pause', 'resume', 'stop', 'exit', 'remove', 'remove-by-force'] satisfies Transition[]).map(
        (transition) => [
          transition,
          Object.fromEntries(
            states.flatMap((from) => {
              const to = nextState(from, transition);
              return to === undefined ? [] : [[from, to]];
            }),
          ),
        ],
      ),
    );
    expect(table).toEqual({
      start: { created: 'running', stopped: 'running' },
      pause: { running: 'paused' },
      resume: { paused: 'running' },
      stop: { running: 'stopped', paused: 'stopped', stopped: 'stopped' },
      exit: { created: 'stopped', running: 'stopped', paused: 'stopped' },
      remove: { created: 'removed', stopped: 'removed' },
      'remove-by-force': { created: 'removed', running: 'removed', paused: 'removed', stopped: 'removed' },
    });
  });

  it('names from and to in its errors, and what to do', () => {
    expect(() => requireNextState('web', 'paused', 'pause')).toThrow(
      expect.objectContaining({
        code: 'ILLEGAL_TRANSITION',
        message: 'cannot pause container "web": it is paused, and paused -> paused is not a transition',
        details: { from: 'paused', to: 'paused' },
        hint: 'only a running container can be paused',
      }),
    );
  });
});
