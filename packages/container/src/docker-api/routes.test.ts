import { describe, expect, it } from 'vitest';
import { type Route, Router, splitVersion } from './router.ts';
import { ROUTES } from './routes.ts';
import { API_VERSION, MIN_API_VERSION } from './versions.ts';

function section(title: string, routes: readonly Route[]): string {
  const rows = routes.map(({ method, path, summary, handler, note }) =>
    [
      `\`${method} ${path.replace('...', '')}\``,
      summary,
      handler === undefined ? '501' : 'yes',
      note ?? '',
    ].join(' | '),
  );
  return [
    `## ${title}`,
    '',
    '| endpoint | what | supported | note |',
    '| --- | --- | --- | --- |',
    ...rows.map((row) => `| ${row} |`),
    '',
  ].join('\n');
}

const SECTIONS: readonly (readonly [string, RegExp])[] = [
  ['Containers', /^\/(containers(?!\/\{id\}\/exec)|commit)/],
  ['Exec', /exec/],
  ['Images', /^\/(images|build|distribution)/],
  ['Networks', /^\/networks/],
  ['Volumes', /^\/volumes/],
  ['System', /^\/(auth|info|version|_ping|events|system|session|grpc)/],
  ['Plugins', /^\/plugins/],
  ['Swarm', /^\/(swarm|nodes|services|tasks|secrets|configs)/],
];

function page(): string {
  const rest = [...ROUTES];
  const parts = SECTIONS.map(([title, pattern]) => {
    const mine = rest.filter(({ path }) => pattern.test(path));
    for (const route of mine) rest.splice(rest.indexOf(route), 1);
    return section(title, mine);
  });
  expect(rest, 'every route has its section').toEqual([]);
  const supported = ROUTES.filter(({ handler }) => handler !== undefined).length;
  return `# Docker Engine API

\`heptad engine serve --docker-socket PATH\` speaks the Docker Engine API ${API_VERSION} (clients from ${MIN_API_VERSION} on), so that \`docker\`, Compose,
dockerode and testcontainers work on Heptad's engine. Paths are taken with and without a version. Of the ${ROUTES.length} endpoints ${supported} are
supported; the others answer 501 with a message that says why. A setting that the engine cannot keep is refused by name,
never silently dropped.

This page is made from the server's own table of routes.

${parts.join('\n')}`;
}

describe('ROUTES', () => {
  it('are what the documentation says', async () => {
    await expect(page()).toMatchFileSnapshot('../../../../docs/reference/docker-api.md');
  });

  it('lead each path to its own endpoint and not to a wider one', () => {
    const router = new Router(ROUTES);
    for (const route of ROUTES) {
      const path = route.path.replace(/\{\w+\.\.\.\}/g, 'a/b').replace(/\{\w+\}/g, 'abc');
      expect(router.match(route.method, path)?.route, `${route.method} ${path}`).toBe(route);
    }
  });

  it('take names with slashes and escapes', () => {
    const router = new Router(ROUTES);
    const match = router.match('GET', '/images/registry.example%3A5000/team/app%3A1/json');
    expect(match?.parameters).toEqual({ name: 'registry.example:5000/team/app:1' });
    expect(router.match('PATCH', '/containers/json')).toBeUndefined();
    expect(splitVersion('/v1.41/info')).toEqual({ version: '1.41', rest: '/info' });
    expect(splitVersion('/info')).toEqual({ version: undefined, rest: '/info' });
  });
});
