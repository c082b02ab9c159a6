// What every command needs: the server, who we are, and how to print.

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { ApiClient } from '../client/api-client.ts';
import { configFromEnvironment, defaultHome, platformPaths } from '../config.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly server?: string;
  readonly token?: string;
}

/** A command's surroundings. */
export interface CommandContext {
  readonly client: ApiClient;
  readonly json: boolean;
  readonly dryRun: boolean;
}

/** Where `heptad security login` keeps its token. */
export function loginTokenPath(): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'heptad', 'token');
}

function readToken(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/**
 * The token to use: the flag, HEPTAD_TOKEN, the last login, or the local administrator's token, which only the user
 * who runs the platform on this machine can read.
 */
function findToken(flag: string | undefined): string | undefined {
  return (
    flag ??
    process.env.HEPTAD_TOKEN ??
    readToken(loginTokenPath()) ??
    readToken(join(platformPaths(defaultHome()).run, 'admin.token'))
  );
}

/** The surroundings of `command`, from its flags, its parents' flags and the environment. */
export function contextOf(command: Command): CommandContext {
  const options = command.optsWithGlobals<GlobalOptions>();
  const config = configFromEnvironment();
  const token = findToken(options.token);
  return {
    client: new ApiClient({
      server: options.server ?? process.env.HEPTAD_SERVER ?? `http://${config.host}:${config.port}`,
      ...(token === undefined ? {} : { token }),
    }),
    json: options.json ?? false,
    dryRun: options.dryRun ?? false,
  };
}
