// Figures as people read them: bytes, CPU, times, percentages.

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1536` -> `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return '–';
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 1024 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${bytes < 0 ? '-' : ''}${trimmed(value, digits)} ${BINARY_UNITS[unit]}`;
}

/** Millicores: `250` -> `0.25 cores`, `2000` -> `2 cores`. */
export function formatCpu(cpuMillis: number): string {
  if (!Number.isFinite(cpuMillis)) return '–';
  const cores = cpuMillis / 1000;
  if (cores > 0 && cores < 0.01) return '< 0.01 cores';
  return `${trimmed(cores, cores >= 10 ? 1 : 2)} ${cores === 1 ? 'core' : 'cores'}`;
}

/** A share from 0 to 1: `0.0042` -> `0.42 %`. */
export function formatPercent(share: number): string {
  if (!Number.isFinite(share)) return '–';
  const percent = share * 100;
  return `${trimmed(percent, percent >= 10 ? 0 : percent >= 1 ? 1 : 2)} %`;
}

/** Seconds: `0.0123` -> `12.3 ms`, `1.5` -> `1.5 s`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds >= 1) return `${trimmed(seconds, 2)} s`;
  const ms = seconds * 1000;
  return `${trimmed(ms, ms >= 100 ? 0 : ms >= 1 ? 1 : 2)} ms`;
}

/** Requests a second. */
export function formatRate(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return '–';
  return `${trimmed(perSecond, perSecond >= 100 ? 0 : perSecond >= 1 ? 1 : 2)}/s`;
}

/** How long ago, at a glance: `now`, `42 s`, `3 min`, `5 h`, `2 d`. */
export function formatAge(since: number, now: number): string {
  const seconds = Math.floor((now - since) / 1000);
  if (seconds < 2) return 'now';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Time of day in the reader's place, with seconds. */
export function formatTime(at: number): string {
  return new Date(at).toLocaleTimeString(undefined, { hour12: false });
}

/** The same without seconds, for axes. */
export function formatClock(at: number): string {
  return new Date(at).toLocaleTimeString(undefined, { hour12: false, hour: '2-digit', minute: '2-digit' });
}

/** `3 replicas`, `1 replica`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `healthy` -> `Healthy`. */
export function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function trimmed(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}
