// AddressManager: gives this machine the virtual addresses of services, and takes them away again.

import { execFile } from 'node:child_process';
import { isIPv4 } from 'node:net';
import { promisify } from 'node:util';
import { errorMessage, HeptadError, invalidArgument } from '@heptad/core';

/** Makes addresses local, so that a listener can bind to them. */
export interface AddressManager extends AsyncDisposable {
  /** Makes exactly these (beside what it does not own) local. Idempotent. Errors: `ADDRESS_FAILED`. */
  sync(addresses: ReadonlySet<string>): Promise<void>;
  /** Takes its own addresses away. */
  close(): Promise<void>;
}

/** For addresses that are local anyway, such as 127.88.0.0/16 on Linux. */
export const noAddresses: AddressManager = {
  sync: async () => {},
  close: async () => {},
  [Symbol.asyncDispose]: async () => {},
};

/** Where {@link linuxAddresses} puts them. */
export interface LinuxAddressesOptions {
  /** Network device that has an address of its own already (unless `create`), such as `heptad0`. */
  readonly device: string;
  /**
   * Make the device when it is missing, and remove it at close. It is a bridge without ports: unlike the dummy type,
   * every kernel that can carry a container network has that. Default false.
   */
  readonly create?: boolean;
}

const run = promisify(execFile);
/** `ip` answers in milliseconds; a hang must not hang the proxy. */
const IP_TIMEOUT_MS = 10_000;
/** An interface label has at most 15 characters, device name and colon included. */
const MAX_LABEL = 15;
const LABEL_SUFFIX = ':vip';

/**
 * Adds /32 addresses to a device with `ip`. Its own are known by their label (`heptad0:vip`), so a proxy that was killed
 * finds and adopts them when it starts again, and an address somebody else put there is never removed.
 *
 * Errors (from `sync`): `ADDRESS_FAILED` naming address, device and what `ip` said.
 *
 * @example
 * ```ts
 * import { linuxAddresses } from '@heptad/mesh';
 *
 * const addresses = linuxAddresses({ device: 'heptad-mesh', create: true });
 * await addresses.close(); // nothing was added, so nothing is removed
 * ```
 */
export function linuxAddresses(options: string | LinuxAddressesOptions): AddressManager {
  const { device, create = false } = typeof options === 'string' ? { device: options } : options;
  if (!/^[a-zA-Z0-9_.-]{1,11}$/.test(device)) {
    throw invalidArgument(
      `"${device}" cannot carry virtual addresses: the name must have 1 to ${MAX_LABEL - LABEL_SUFFIX.length} letters, digits, dots, dashes`,
    );
  }
  return new LinuxAddresses(device, create);
}

class LinuxAddresses implements AddressManager {
  readonly #device: string;
  readonly #create: boolean;
  readonly #label: string;
  #made = false;
  #own: Set<string> | undefined;
  // `ip` calls go one after another, so that two snapshots in quick succession cannot cross.
  #turn: Promise<void> = Promise.resolve();

  constructor(device: string, create: boolean) {
    this.#device = device;
    this.#create = create;
    this.#label = `${device}${LABEL_SUFFIX}`;
  }

  sync(addresses: ReadonlySet<string>): Promise<void> {
    const next = this.#turn.then(() => this.#sync(addresses));
    this.#turn = next.catch(() => {});
    return next;
  }

  async close(): Promise<void> {
    await this.#turn;
    if (this.#own === undefined) return;
    await this.#sync(new Set());
    if (this.#made) await this.#ip(['link', 'del', this.#device], 'remove the device');
    this.#made = false;
    this.#own = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #sync(addresses: ReadonlySet<string>): Promise<void> {
    this.#own ??= await this.#adopt();
    for (const address of this.#own) {
      if (addresses.has(address)) continue;
      await this.#ip(
        ['addr', 'del', `${address}/32`, 'dev', this.#device],
        `remove ${address}`,
        /Cannot assign/,
      );
      this.#own.delete(address);
    }
    for (const address of addresses) {
      if (this.#own.has(address)) continue;
      if (!isIPv4(address)) throw invalidArgument(`virtual address "${address}" is not an IPv4 address`);
      await this.#ip(
        ['addr', 'add', `${address}/32`, 'dev', this.#device, 'label', this.#label],
        `add ${address}`,
        /File exists|already assigned/,
      );
      this.#own.add(address);
    }
  }

  async #adopt(): Promise<Set<string>> {
    if (this.#create) {
      const made = await this.#ip(
        ['link', 'add', this.#device, 'type', 'bridge'],
        'make the device',
        /File exists/,
      );
      this.#made ||= made;
      await this.#ip(['link', 'set', this.#device, 'up'], 'bring the device up');
    }
    const { stdout } = await run('ip', ['-o', '-4', 'addr', 'show', 'dev', this.#device], {
      timeout: IP_TIMEOUT_MS,
    }).catch((error: unknown) => {
      throw this.#failed('list the addresses', error);
    });
    const own = new Set<string>();
    let others = 0;
    for (const line of stdout.split('\n')) {
      const address = /inet (\d+\.\d+\.\d+\.\d+)\//.exec(line)?.[1];
      if (address === undefined) continue;
      if (line.includes(` ${this.#label}\\`)) own.add(address);
      else others += 1;
    }
    // CNI's bridge plugin refuses a bridge whose first IPv4 address is not its gateway: ours must never be there first.
    if (!this.#create && others === 0)
      throw this.#failed('add addresses', 'the device has no address of its own yet');
    return own;
  }

  /** Runs `ip`; answers whether it changed something: an answer that matches `harmless` means it was so already. */
  async #ip(argv: readonly string[], what: string, harmless?: RegExp): Promise<boolean> {
    try {
      await run('ip', argv, { timeout: IP_TIMEOUT_MS });
      return true;
    } catch (error) {
      if (harmless?.test(errorMessage(error))) return false;
      throw this.#failed(what, error);
    }
  }

  #failed(what: string, error: unknown): HeptadError {
    return new HeptadError(
      'ADDRESS_FAILED',
      `cannot ${what} on device ${this.#device}: ${errorMessage(error).trim()}`,
      {
        cause: error,
        hint: 'virtual addresses need root (CAP_NET_ADMIN) and an existing device; without them use loopback addresses',
      },
    );
  }
}
