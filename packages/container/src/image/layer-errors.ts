// Why a layer is refused: three codes, a reason for programs, and always the entry by name.

import { ContainerError } from '../errors.ts';

/**
 * Why an entry is refused, in `details.reason`. With `UNSAFE_ARCHIVE`: `PATH_ESCAPE`, `LINK_ESCAPE`, `SYMLINK_LOOP`,
 * `DEVICE_NODE`, `BAD_NAME`, `BAD_WHITEOUT`, `BAD_OWNER`. With `ARCHIVE_TOO_LARGE`: `TOO_MANY_ENTRIES`, `TOO_MANY_BYTES`,
 * `RATIO`, `HEADER_TOO_LARGE`, `TOO_MANY_FIFOS`. With `ARCHIVE_INVALID`: `BAD_HEADER`, `TRUNCATED`, `SPARSE`,
 * `UNKNOWN_TYPE`, `PARENT_NOT_DIRECTORY`, `IMPOSSIBLE`.
 */
export type RefusalReason =
  | 'BAD_HEADER'
  | 'BAD_NAME'
  | 'BAD_OWNER'
  | 'BAD_WHITEOUT'
  | 'DEVICE_NODE'
  | 'HEADER_TOO_LARGE'
  | 'IMPOSSIBLE'
  | 'LINK_ESCAPE'
  | 'PARENT_NOT_DIRECTORY'
  | 'PATH_ESCAPE'
  | 'RATIO'
  | 'SPARSE'
  | 'SYMLINK_LOOP'
  | 'TOO_MANY_BYTES'
  | 'TOO_MANY_ENTRIES'
  | 'TOO_MANY_FIFOS'
  | 'TRUNCATED'
  | 'UNKNOWN_TYPE';

const MAX_SHOWN = 200;

/** An entry that would write outside its layer, or make something a layer must not hold. */
export function unsafeEntry(name: string, reason: RefusalReason, why: string): ContainerError {
  return refusal('UNSAFE_ARCHIVE', name, reason, why, 'the image is broken or hostile; do not use it');
}

/** An entry over a limit. */
export function oversizedEntry(name: string, reason: RefusalReason, why: string): ContainerError {
  return refusal(
    'ARCHIVE_TOO_LARGE',
    name,
    reason,
    why,
    'if you trust the image, raise the limit with the layerLimits option',
  );
}

/** An entry, or what should be one, that cannot be read. */
export function invalidEntry(name: string, reason: RefusalReason, why: string): ContainerError {
  return refusal('ARCHIVE_INVALID', name, reason, why, 'fetch or build the image again');
}

function refusal(
  code: 'UNSAFE_ARCHIVE' | 'ARCHIVE_TOO_LARGE' | 'ARCHIVE_INVALID',
  name: string,
  reason: RefusalReason,
  why: string,
  hint: string,
): ContainerError {
  const shown = readable(name);
  return new ContainerError(code, `refused the archive: entry "${shown}" ${why}`, {
    hint,
    details: { entry: shown, reason },
  });
}

/** A name for people: decoded, without what could steer a terminal, and bounded. */
function readable(name: string): string {
  return (
    Buffer.from(name.slice(0, MAX_SHOWN), 'latin1')
      .toString('utf8')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: taking them out is what this is for.
      .replace(/[\u0000-\u001f\u007f-\u009f]/g, '\uFFFD')
  );
}
