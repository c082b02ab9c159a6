// The phi of a silence: how sure one can be, from the heartbeats so far, that the next one will not come.

/** Constants of the detector; durations in milliseconds. */
export interface PhiSettings {
  /** Silence up to this long beyond the mean interval is no ground for suspicion: pauses of collectors and hosts. */
  readonly acceptablePauseMs: number;
  /** Floor of the deviation: a perfectly regular past must not make one late heartbeat damning. */
  readonly minStdDeviationMs: number;
}

/**
 * φ = −log10(1 − F(t)), with the normal distribution's F by the logistic approximation that Akka uses:
 * `y = (t − μ)/σ; e = exp(−y·(1.5976 + 0.070566·y²))`; `t > μ ? −log10(e/(1+e)) : −log10(1 − 1/(1+e))`.
 *
 * Pure. φ = 1 means one wrong suspicion in 10, φ = 8 one in 10^8, if the past is like the future.
 * Source: Hayashibara et al. 2004, The φ accrual failure detector; constants after Akka's reference configuration.
 */
export function phi(
  silenceMs: number,
  intervals: { readonly meanMs: number; readonly deviationMs: number },
  settings: PhiSettings,
): number {
  const mean = intervals.meanMs + settings.acceptablePauseMs;
  const deviation = Math.max(intervals.deviationMs, settings.minStdDeviationMs);
  const y = (silenceMs - mean) / deviation;
  const e = Math.exp(-y * (1.5976 + 0.070566 * y * y));
  // Far in the tail e underflows to 0: certain, and JSON knows no Infinity.
  if (silenceMs > mean) return Math.min(PHI_MAX, e === 0 ? PHI_MAX : -Math.log10(e / (1 + e)));
  return Math.max(0, -Math.log10(1 - 1 / (1 + e)));
}

/** Phi is cut off here: beyond it only the exponent of nothing grows. */
export const PHI_MAX = 300;
