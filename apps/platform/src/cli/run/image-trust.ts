// image keygen, sign, verify: keys, signatures, and what the trust policy makes of an image.

import { open, readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { generateSigningKeys, signImage, verifyImage } from '@heptad/container';
import { HeptadError, invalidArgument, parseDuration, systemClock } from '@heptad/core';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { printJson, say } from '../output.ts';
import { openImages } from './image.ts';
import { pairs } from './image-build.ts';

/** cosign's own variable, so that scripts made for it work. */
const PASSWORD_VARIABLE = 'COSIGN_PASSWORD';

/** `heptad image keygen`: PREFIX.key, encrypted, for its owner only, and PREFIX.pub. */
export async function keygen(options: { output: string }, command: Command): Promise<void> {
  const { json, dryRun } = contextOf(command);
  const files = { privateKey: `${options.output}.key`, publicKey: `${options.output}.pub` };
  if (dryRun) return say(`would write ${files.privateKey} and ${files.publicKey}`);
  const password = await askPassword('password of the new key', true);
  const keys = await generateSigningKeys({ password });
  await writeNew(files.privateKey, keys.privateKey, 0o600);
  await writeNew(files.publicKey, keys.publicKey, 0o644);
  if (json) printJson(files);
  else say(`wrote ${files.privateKey} (keep it secret) and ${files.publicKey}`);
}

/** `heptad image sign NAME --key FILE`. */
export async function sign(
  name: string,
  options: {
    key: string;
    annotation: readonly string[];
    expires?: string;
    repository?: string;
    layout: 'tag' | 'referrer' | 'both';
  },
  command: Command,
): Promise<void> {
  const { json, dryRun } = contextOf(command);
  const images = await openImages();
  const { target } = await images.target(name);
  if (dryRun) return say(`would sign ${name} (${target.digest})`);
  const key = await readKey(options.key);
  const signed = await signImage(images, name, {
    key,
    password: key.includes('ENCRYPTED') ? await askPassword(`password of ${options.key}`, false) : '',
    annotations: pairs(options.annotation, '--annotation'),
    layout: options.layout,
    ...(options.repository === undefined ? {} : { repository: options.repository }),
    ...(options.expires === undefined
      ? {}
      : { expiresAt: systemClock.now() + parseDuration(options.expires) }),
  });
  if (json) return printJson(signed);
  say(
    signed.added
      ? `signed ${signed.repository}@${signed.digest}; "heptad image push" takes the signature along`
      : `this key had signed ${signed.repository}@${signed.digest} before`,
  );
}

/** `heptad image verify NAME`: against keys, or against the trust policy. */
export async function verify(
  name: string,
  options: { key: readonly string[]; annotation: readonly string[] },
  command: Command,
): Promise<void> {
  const { json } = contextOf(command);
  const images = await openImages();
  if (options.key.length > 0) {
    const keys = await Promise.all(options.key.map(readKey));
    const annotations = pairs(options.annotation, '--annotation');
    const verified = await verifyImage(images, name, { keys, annotations });
    if (json) return printJson(verified);
    for (const one of verified.signatures)
      say(
        `signed as ${one.reference} by key ${one.keyFingerprint.slice(0, 16)} ${annotationText(one.annotations)}`,
      );
    process.stdout.write(`${verified.digest}\n`);
    return;
  }
  if (options.annotation.length > 0)
    throw invalidArgument('--annotation needs --key', 'the trust policy says what annotations it wants');
  const verdict = await images.trust.check(images, name);
  if (json) return printJson(verdict);
  const { decision, verified } = verdict;
  const by = decision.prefix === undefined ? 'its default' : `its rule for ${decision.prefix}`;
  say(
    verified === undefined
      ? `the trust policy accepts ${name} by ${by}, whatever is signed; --key FILE checks signatures`
      : `the trust policy accepts ${name} by ${by}: ${verified.signatures.length} signatures count`,
  );
}

function annotationText(annotations: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(annotations);
  return entries.length === 0 ? '' : JSON.stringify(Object.fromEntries(entries));
}

async function readKey(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new HeptadError('NOT_FOUND', `cannot read the key ${path}`, {
      cause,
      hint: 'give the path of a PEM file',
    });
  }
}

/** Never over a key that is there: what it signed could not be signed again. */
async function writeNew(path: string, text: string, mode: number): Promise<void> {
  try {
    const file = await open(path, 'wx', mode);
    await file.writeFile(text);
    await file.sync();
    await file.close();
  } catch (cause) {
    throw new HeptadError(
      'ALREADY_EXISTS',
      `cannot write ${path}: it is there already, or its directory is not`,
      {
        cause,
        hint: 'choose another name with --output',
      },
    );
  }
}

/** From the environment, else typed in without being shown. */
async function askPassword(what: string, twice: boolean): Promise<string> {
  const given = process.env[PASSWORD_VARIABLE];
  if (given !== undefined) return given;
  if (!process.stdin.isTTY) {
    throw invalidArgument(
      `no ${what}`,
      `set ${PASSWORD_VARIABLE} (it may be empty), or run this in a terminal`,
    );
  }
  const first = await typed(what);
  if (!twice || (await typed('once more')) === first) return first;
  throw invalidArgument('the two passwords differ', 'try again');
}

async function typed(what: string): Promise<string> {
  process.stderr.write(`${what}: `);
  // The terminal's echo goes through readline's output, so a silent output shows nothing.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    return await terminal.question('');
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}
