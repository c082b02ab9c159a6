// The one place that says which operation a container's state allows, and what comes of it.

import type { ContainerState } from '@heptad/core';
import { ContainerError } from '../errors.ts';

/** What can happen to a container. `exit` is the end of its main process, whoever caused it. */
export type Transition = 'start' | 'pause' | 'resume' | 'stop' | 'exit' | 'remove' | 'remove-by-force';

const TRANSITIONS: Readonly<
  Record<Transition, { readonly from: readonly ContainerState[]; readonly to: ContainerState }>
> = {
  start: { from: ['created', 'stopped'], to: 'running' },
  pause: { from: ['running'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  stop: { from: ['running', 'paused', 'stopped'], to: 'stopped' },
  // The init of a created container can be killed from outside before it is ever started.
  exit: { from: ['created', 'running', 'paused'], to: 'stopped' },
  remove: { from: ['created', 'stopped'], to: 'removed' },
  'remove-by-force': { from: ['created', 'running', 'paused', 'stopped'], to: 'removed' },
};

const HINTS: Readonly<Record<Transition, string>> = {
  start: 'it runs already',
  pause: 'only a running container can be paused',
  resume: 'only a paused container can be resumed',
  stop: 'a container that was never started is removed, not stopped',
  exit: 'the container has ended already',
  remove: 'stop it first, or remove it with force',
  'remove-by-force': 'the container is gone already',
};

/** The state after `transition`, or undefined when `from` does not allow it. */
export function nextState(from: ContainerState, transition: Transition): ContainerState | undefined {
  const rule = TRANSITIONS[transition];
  return rule.from.includes(from) ? rule.to : undefined;
}

/** {@link nextState}, with `ILLEGAL_TRANSITION` (`details: { from, to }`) for what is not allowed. */
export function requireNextState(name: string, from: ContainerState, transition: Transition): ContainerState {
  const to = nextState(from, transition);
  if (to !== undefined) return to;
  const wanted = TRANSITIONS[transition].to;
  throw new ContainerError(
    'ILLEGAL_TRANSITION',
    `cannot ${transition === 'remove-by-force' ? 'remove' : transition} container "${name}": it is ${from}, and ${from} -> ${wanted} is not a transition`,
    { hint: HINTS[transition], details: { from, to: wanted } },
  );
}

/** Throws `ILLEGAL_TRANSITION` unless the container is in one of the states that an operation needs, and stays in. */
export function requireState(
  name: string,
  state: ContainerState,
  operation: string,
  needed: readonly ContainerState[],
): void {
  if (needed.includes(state)) return;
  throw new ContainerError(
    'ILLEGAL_TRANSITION',
    `cannot ${operation} container "${name}": it is ${state}, not ${needed.join(' or ')}`,
    { hint: state === 'paused' ? 'resume it first' : 'start it first', details: { from: state, to: state } },
  );
}
