// Signals from the machine's own load: restless when load swings, roomy when cores idle.

import { availableParallelism, loadavg } from 'node:os';
import type { ResourceSignal, SignalSource } from './optimizer.ts';

/**
 * The signal of a machine. Volatility is how far the last minute's load is from the last five minutes', in machines;
 * liquidity runs from 0.5 (every core busy) over 1 (half of them) to 1.5 (idle). Pure.
 *
 * @param load - load averages over 1, 5 and 15 minutes.
 */
export function loadSignal(load: readonly number[], cores: number): ResourceSignal {
  const [one = 0, five = 0] = load;
  const machines = Math.max(1, cores);
  return {
    volatility: Math.min(1, Math.abs(one - five) / machines),
    liquidity: 1.5 - Math.min(1, one / machines),
  };
}

/** A source that reads this machine's load averages; the same for every service. */
export function loadSignals(): SignalSource {
  return { read: async () => loadSignal(loadavg(), availableParallelism()) };
}
