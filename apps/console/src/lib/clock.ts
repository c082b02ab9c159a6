// The browser's clock and timers, in one place.

/** Wall time in milliseconds. */
export function now(): number {
  return Date.now();
}

/** Calls back once after `ms`; the answer cancels. */
export function after(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/** Calls back every `ms`; the answer cancels. */
export function every(ms: number, callback: () => void): () => void {
  const timer = setInterval(callback, ms);
  return () => clearInterval(timer);
}
