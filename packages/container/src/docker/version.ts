// Which version of the Docker Engine API to speak: never fixed in the code, always agreed with the engine.

import { ContainerError } from '../errors.ts';

/** The oldest API this driver can work with: 1.40 (Docker 19.03) has every field that a container's spec needs. */
export const OLDEST_API: string = '1.40';
/** The newest API whose meaning this driver knows; a newer engine is spoken to in this one. */
export const NEWEST_API: string = '1.51';

const VERSION = /^(\d{1,3})\.(\d{1,4})$/;

/** Negative when `one` is older than `other`, 0 when equal. Throws `INVALID_ARGUMENT` for what is no version. */
export function compareApiVersions(one: string, other: string): number {
  const [oneMajor, oneMinor] = parse(one);
  const [otherMajor, otherMinor] = parse(other);
  return oneMajor - otherMajor || oneMinor - otherMinor;
}

function parse(version: string): [number, number] {
  const match = VERSION.exec(version);
  if (match === null) {
    throw new ContainerError('INVALID_ARGUMENT', `"${version}" is not a version of the Docker Engine API`);
  }
  return [Number(match[1]), Number(match[2])];
}

/**
 * The newest version that both sides know. Throws `RUNTIME_UNAVAILABLE` naming both ranges when there is none.
 *
 * @param engine - the newest version the engine speaks, and the oldest it still accepts, when it told.
 */
export function agreeOnApi(engine: { readonly newest: string; readonly oldest?: string }): string {
  const agreed = compareApiVersions(engine.newest, NEWEST_API) < 0 ? engine.newest : NEWEST_API;
  const tooOld = compareApiVersions(agreed, OLDEST_API) < 0;
  const tooNew = engine.oldest !== undefined && compareApiVersions(agreed, engine.oldest) < 0;
  if (!tooOld && !tooNew) return agreed;
  const range =
    engine.oldest === undefined ? `up to ${engine.newest}` : `${engine.oldest} to ${engine.newest}`;
  throw new ContainerError(
    'RUNTIME_UNAVAILABLE',
    `cannot talk to this Docker Engine: it speaks API ${range}, this driver ${OLDEST_API} to ${NEWEST_API}`,
    { hint: tooOld ? 'update Docker to 19.03 or later' : 'update @heptad/container' },
  );
}
