// The nftables rules of a latency fault: new connections go to the delay proxy, and the kernel itself lets them lapse.

/** One destination whose connections are delayed. */
export interface DelayedRoute {
  /** `in`: connections arriving in the namespace; `out`: connections its processes make. */
  readonly hook: 'in' | 'out';
  /** Destination address; undefined: any address of the namespace (only for `in`). */
  readonly address?: string;
  readonly port: number;
  /** Where the proxy listens for this destination. */
  readonly proxyPort: number;
}

/** Owner of the proxy's process, so that its own connections can be told from the target's and are not redirected. */
export const PROXY_UID = 61_999;

/** Name of a fault's table; a fault is undone by deleting it. */
export function tableName(faultId: string): string {
  return `heptad_chaos_${faultId.replaceAll(/[^a-zA-Z0-9]/g, '_')}`;
}

function match(route: DelayedRoute, index: number): string {
  const family = route.address?.includes(':') ? 'ip6' : 'ip';
  const address =
    route.address === undefined || route.hook === 'in' ? '' : `${family} daddr ${route.address} `;
  const own = route.hook === 'in' ? 'iifname != "lo" ' : `meta skuid != ${PROXY_UID} `;
  return `${own}${address}tcp dport @live${index}`;
}

/**
 * The script that installs a fault. The redirected ports sit in sets whose elements time out: when nobody renews them,
 * the kernel stops redirecting by itself, even if every process of ours was killed.
 *
 * Redirection is decided by a connection's first packet, so a later lapse lets open connections finish.
 */
export function installScript(
  faultId: string,
  routes: readonly DelayedRoute[],
  options: { readonly ttlMs: number; readonly existing: 'reset' | 'keep' },
): string {
  const sets = routes.map(
    (route, i) =>
      `  set live${i} {\n    type inet_service\n    flags timeout\n    elements = { ${route.port} timeout ${options.ttlMs}ms }\n  }`,
  );
  const redirects = (hook: 'in' | 'out'): string[] =>
    routes.flatMap((route, i) =>
      route.hook === hook
        ? [`    ${match(route, i)} tcp flags & (syn | ack) == syn redirect to :${route.proxyPort}`]
        : [],
    );
  // Packets of redirected connections carry the proxy's port by now: what still has the target's is an older connection.
  const resets = (hook: 'in' | 'out'): string[] =>
    options.existing === 'keep'
      ? []
      : routes.flatMap((route, i) =>
          route.hook === hook ? [`    ${match(route, i)} tcp flags & syn == 0 reject with tcp reset`] : [],
        );
  const chain = (
    name: string,
    type: string,
    hook: string,
    priority: string,
    rules: readonly string[],
  ): string =>
    `  chain ${name} {\n    type ${type} hook ${hook} priority ${priority}\n${rules.join('\n')}\n  }`;
  return [
    `table inet ${tableName(faultId)} {`,
    ...sets,
    chain('arriving', 'nat', 'prerouting', '-100', redirects('in')),
    chain('leaving', 'nat', 'output', '-100', redirects('out')),
    chain('older_arriving', 'filter', 'input', '0', resets('in')),
    chain('older_leaving', 'filter', 'output', '0', resets('out')),
    '}',
    '',
  ].join('\n');
}

/** The script that pushes the kernel's time-out on. Delete and add in one transaction: no packet falls between. */
export function renewScript(faultId: string, routes: readonly DelayedRoute[], ttlMs: number): string {
  const table = `inet ${tableName(faultId)}`;
  return routes
    .flatMap((route, i) => [
      // Adding first makes the deletion succeed also when the element has lapsed already.
      `add element ${table} live${i} { ${route.port} timeout ${ttlMs}ms }`,
      `delete element ${table} live${i} { ${route.port} }`,
      `add element ${table} live${i} { ${route.port} timeout ${ttlMs}ms }`,
    ])
    .join('\n')
    .concat('\n');
}

/** The script that removes a fault, and succeeds when it is not there. */
export function removeScript(faultId: string): string {
  const table = `inet ${tableName(faultId)}`;
  return `add table ${table}\ndelete table ${table}\n`;
}
