// Passwords: argon2id in PHC form, so that the cost is kept with each hash and can rise.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { SecurityError } from '../errors.ts';
import { type Argon2Cost, argon2id } from '../keys/argon2.ts';

/** OWASP Password Storage Cheat Sheet, argon2id: 19 MiB, 2 passes, 1 lane. */
export const PASSWORD_COST: Argon2Cost = { memoryKib: 19_456, passes: 2, parallelism: 1 };
const SALT_BYTES = 16;
const TAG_BYTES = 32;
/** NIST SP 800-63B asks for 8 at least; no composition rules, but 12. */
const MIN_LENGTH = 12;
/** Longer ones are not passwords but an attempt to make us hash megabytes. */
const MAX_BYTES = 1_024;
/** 19 MiB each and four at work in the thread pool: more waiting callers are refused, not queued without end. */
const MAX_WAITING = 64;
/** What a stored hash may ask for; it comes from the store, which is less trusted than this code. */
const MAX_MEMORY_KIB = 1_048_576;
const MAX_PASSES = 16;

let waiting = 0;

async function limited<T>(work: () => Promise<T>): Promise<T> {
  if (waiting >= MAX_WAITING) {
    throw new SecurityError('TOO_BUSY', 'cannot check the password: too many logins at the same time', {
      hint: 'try again in a few seconds',
      retryable: true,
    });
  }
  waiting += 1;
  try {
    return await work();
  } finally {
    waiting -= 1;
  }
}

/** `WEAK_PASSWORD` for a password that is too short, too long, or holds the user's name. */
export function requireAcceptable(password: string, user: string): void {
  const why =
    [...password].length < MIN_LENGTH
      ? `it has fewer than ${MIN_LENGTH} characters`
      : Buffer.byteLength(password) > MAX_BYTES
        ? `it has more than ${MAX_BYTES} bytes`
        : new Set(password).size < 5
          ? 'it repeats the same few characters'
          : user.length > 3 && password.toLowerCase().includes(user.toLowerCase())
            ? "it holds the user's name"
            : undefined;
  if (why === undefined) return;
  throw new SecurityError('WEAK_PASSWORD', `cannot set the password of "${user}": ${why}`, {
    hint: 'choose a longer one; four random words are better than one with odd characters',
  });
}

/** A PHC string: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`. */
export function hashPassword(password: string, cost: Argon2Cost = PASSWORD_COST): Promise<string> {
  return limited(async () => {
    const salt = randomBytes(SALT_BYTES);
    const tag = await argon2id(normalised(password), salt, cost, TAG_BYTES);
    return `$argon2id$v=19$m=${cost.memoryKib},t=${cost.passes},p=${cost.parallelism}$${unpadded(salt)}$${unpadded(tag)}`;
  });
}

/** Whether the password is the one that was hashed, and whether its hash should be made anew at today's cost. */
export function verifyPassword(
  password: string,
  phc: string,
  cost: Argon2Cost = PASSWORD_COST,
): Promise<{ readonly matches: boolean; readonly outdated: boolean }> {
  return limited(async () => {
    const stored = parsePhc(phc);
    const given = Buffer.byteLength(password) > MAX_BYTES ? '' : password;
    const tag = await argon2id(normalised(given), stored.salt, stored.cost, stored.tag.length);
    const outdated =
      stored.cost.memoryKib !== cost.memoryKib ||
      stored.cost.passes !== cost.passes ||
      stored.cost.parallelism !== cost.parallelism;
    return { matches: timingSafeEqual(tag, stored.tag) && given === password, outdated };
  });
}

/** A password nobody has to invent: 20 characters of 32, 100 bits, in groups that can be read out. */
export function generatePassword(): string {
  // No 0/O, 1/l/i: it is typed from a screen. 32 characters, so a byte's low 5 bits choose without bias.
  const alphabet = 'abcdefghjkmnpqrstuvwxyzA23456789';
  const characters = [...randomBytes(20)].map((byte) => alphabet[byte & 31] ?? 'a');
  return [0, 5, 10, 15].map((start) => characters.slice(start, start + 5).join('')).join('-');
}

// The same text typed on two keyboards may differ in its code points (RFC 8265).
function normalised(password: string): Buffer {
  return Buffer.from(password.normalize('NFC'), 'utf8');
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}

function parsePhc(phc: string): { cost: Argon2Cost; salt: Buffer; tag: Buffer } {
  const match =
    /^\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(phc);
  const [, memory, passes, parallelism, salt, tag] = match ?? [];
  const cost = { memoryKib: Number(memory), passes: Number(passes), parallelism: Number(parallelism) };
  if (
    salt === undefined ||
    tag === undefined ||
    cost.memoryKib > MAX_MEMORY_KIB ||
    cost.passes > MAX_PASSES
  ) {
    throw new SecurityError('CONFLICT', 'cannot check the password: its stored hash is damaged', {
      hint: 'set a new password for the user',
    });
  }
  return { cost, salt: Buffer.from(salt, 'base64'), tag: Buffer.from(tag, 'base64') };
}
