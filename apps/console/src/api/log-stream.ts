// A container's output, line by line (NDJSON), as long as somebody looks.

import type { ApiClient } from './client.ts';
import type { LogLine } from './types.ts';

const TAIL_LINES = 200;

/** Gives the newest lines and then each new one; ends when the container's output ends or the signal aborts. */
export async function followLogs(
  client: ApiClient,
  container: string,
  onLines: (lines: readonly LogLine[]) => void,
  signal: AbortSignal,
): Promise<void> {
  const query = new URLSearchParams({ tail: String(TAIL_LINES), follow: 'true' });
  const answer = await client.open(
    `/api/v1/containers/${encodeURIComponent(container)}/logs?${query}`,
    signal,
  );
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let piece = await reader?.read(); piece !== undefined && !piece.done; piece = await reader?.read()) {
    const lines = (rest + piece.value).split('\n');
    rest = lines.pop() ?? '';
    onLines(lines.map(parseLogLine).filter((line) => line !== undefined));
  }
}

/** One line of the answer; undefined for an empty one. Text that is not JSON is shown as it is. */
export function parseLogLine(text: string): LogLine | undefined {
  if (text.trim() === '') return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'text' in value && typeof value.text === 'string') {
      const at = 'at' in value && typeof value.at === 'number' ? value.at : Number.NaN;
      return {
        at,
        text: value.text,
        stream: 'stream' in value && value.stream === 'stderr' ? 'stderr' : 'stdout',
      };
    }
  } catch {
    // Shown below.
  }
  return { at: Number.NaN, stream: 'stdout', text };
}
