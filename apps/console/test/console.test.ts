// The built console in a real browser, against a server that answers as the platform does.

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { browserInstalled, launchBrowser } from './browser.ts';
import { buildConsole } from './build.ts';
import { type FixtureServer, PASSWORD, serveFixture } from './fixture-server.ts';

// With CI=true a missing browser is a failure, elsewhere the tests are skipped.
const runnable = browserInstalled || process.env.CI === 'true';

describe.skipIf(!runnable)('the console in Chromium', () => {
  let browser: Browser;
  let build: ReturnType<typeof buildConsole>;
  beforeAll(async () => {
    build = buildConsole();
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    build?.[Symbol.dispose]();
  });

  /** A page on a fresh platform. Fails the test for any script error or request to elsewhere. */
  async function opened(
    change: (server: FixtureServer) => void = () => {},
  ): Promise<{ page: Page; server: FixtureServer }> {
    const server = await serveFixture(build.directory);
    change(server);
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('request', (request) => {
      if (!request.url().startsWith(server.url)) errors.push(`request to ${request.url()}`);
    });
    onTestFinished(async () => {
      await page.close();
      await server[Symbol.asyncDispose]();
      expect(errors).toEqual([]);
    });
    await page.goto(server.url);
    return { page, server };
  }

  async function login(page: Page, password = PASSWORD): Promise<void> {
    await page.getByLabel('User name').fill('ada');
    await page.getByLabel('Password').fill(password);
    await page.keyboard.press('Enter');
  }

  it('lets in with the right password only, keeps the session over a reload, and forgets it on log out', async () => {
    const { page } = await opened();
    await login(page, 'wrong');
    await expect
      .poll(() => page.getByRole('alert').textContent({ timeout: 5_000 }))
      .toContain('the user name or the password is wrong');
    await login(page);
    await page.getByRole('heading', { name: 'Services' }).waitFor();
    await page.reload();
    await page.getByRole('rowheader', { name: /catalog-0/ }).waitFor();
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Password').waitFor();
    await page.reload();
    await page.getByLabel('Password').waitFor();
    expect(await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }))).not.toContain(
      'token',
    );
  });

  it('shows the state of services, containers, nodes and storage', async () => {
    const { page } = await opened((server) => {
      server.mood = 'bad';
    });
    await login(page);
    await page.getByText('orders has no ready replica').waitFor();
    await expect
      .poll(() => page.getByRole('row', { name: /^catalog shop/ }).textContent({ timeout: 5_000 }))
      .toMatch(/Degraded[\s\S]*2\/3 ready/);
    expect(await page.getByRole('row', { name: /^orders-0/ }).textContent({ timeout: 5_000 })).toContain(
      'exited with code 1; restart in 20 s',
    );
    expect(await page.getByRole('link', { name: ':8080' }).getAttribute('href')).toBe(
      'http://127.0.0.1:8080/',
    );
    expect(await page.getByRole('meter', { name: 'CPU' }).first().getAttribute('aria-valuetext')).toBe(
      '1.84 cores of 4 cores',
    );
    await page.getByRole('img', { name: /^Requests per second, now: catalog/ }).waitFor();
    expect(await page.title()).toBe('(!) critical – Heptad');
  });

  it('scales after confirmation, by keyboard, and gives the focus back', async () => {
    const { page, server } = await opened();
    await login(page);
    const button = page.getByRole('button', { name: 'Scale web' });
    await button.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Scale web' });
    await dialog.waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    expect(await button.evaluate((element) => element === document.activeElement)).toBe(true);
    expect(server.changes).toEqual([]);
    await page.keyboard.press('Enter');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('Enter');
    await page.getByText('web is being scaled to 3 replicas').waitFor();
    expect(server.changes).toEqual(['/api/v1/services/web/scale {"replicas":3}']);
  });

  it('shows what the server says when it refuses a change', async () => {
    const { page } = await opened();
    await login(page);
    await page.getByRole('button', { name: 'Roll back catalog' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click();
    await expect
      .poll(() => page.getByRole('alert').textContent({ timeout: 5_000 }))
      .toMatch(/Revision conflict\s*catalog was changed by somebody else\s*look again/);
  });

  it('does not offer changes to a viewer, and says why', async () => {
    const { page } = await opened((server) => {
      server.roles = ['viewer'];
    });
    await login(page);
    const button = page.getByRole('button', { name: 'Scale web' });
    await button.waitFor();
    expect([await button.isDisabled(), await button.getAttribute('title')]).toEqual([
      true,
      'You need the role operator or admin',
    ]);
  });

  it('follows events, pauses, and resumes after a lost connection where it broke off', async () => {
    const { page, server } = await opened();
    const event = (because: string) => ({
      at: Date.now(),
      object: 'Service/default/web',
      op: 'scale',
      because,
      source: 'orchestrator',
    });
    await login(page);
    await page.getByText('Live', { exact: true }).waitFor();
    server.emit(41, event('the first live event'));
    await page.getByText('the first live event').waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    server.emit(42, event('while paused'));
    await page.getByText('Paused, 1 new').waitFor();
    expect(await page.getByText('while paused').count()).toBe(0);
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByText('while paused').waitFor();
    server.dropStreams();
    await expect.poll(() => server.resumedFrom, { timeout: 10_000 }).toEqual(['', '42']);
    await page.getByText('Live', { exact: true }).waitFor();
  });

  it('says that the platform is away, keeps what it knew, and comes back by itself', async () => {
    const { page, server } = await opened();
    await login(page);
    await page.getByRole('button', { name: 'Scale web' }).waitFor();
    server.away = true;
    server.dropStreams();
    await page.getByText('What you see is what was last known').waitFor();
    await page.getByText('Not answering').waitFor();
    expect(await page.getByRole('button', { name: 'Scale web' }).count()).toBe(1);
    server.away = false;
    await page.getByText('What you see is what was last known').waitFor({ state: 'detached' });
  });

  it('shows the logs of a container, filtered', async () => {
    const { page } = await opened();
    await login(page);
    await page.getByRole('button', { name: /^Logs of web-0/ }).click();
    await page.getByText('60 lines; live').waitFor();
    await page.getByLabel('Filter lines').fill('refused');
    await expect
      .poll(() => page.getByRole('log').textContent({ timeout: 5_000 }))
      .toContain('cannot reach orders');
    expect(await page.getByRole('log').textContent({ timeout: 5_000 })).not.toContain('/products/');
  });

  it('fits a phone without scrolling sideways', async () => {
    const { page } = await opened();
    await page.setViewportSize({ width: 360, height: 740 });
    await login(page);
    await page.getByRole('button', { name: 'Scale web' }).waitFor();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  });
});
