// Pictures of the console in its states, to look at: pnpm --filter @heptad/console screenshots DIRECTORY

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { launchBrowser } from './browser.ts';
import { buildConsole } from './build.ts';
import { PASSWORD, serveFixture } from './fixture-server.ts';

const directory = process.argv[2] ?? 'screenshots';
await mkdir(directory, { recursive: true });
using build = buildConsole();
await using server = await serveFixture(build.directory);
const browser = await launchBrowser();

async function open(colorScheme: 'light' | 'dark', width: number, height = 1000): Promise<Page> {
  const page = await browser.newPage({ colorScheme, viewport: { width, height } });
  page.on('pageerror', (error) => process.stderr.write(`page error: ${error.message}\n`));
  page.on('console', (message) => {
    if (message.type() === 'error') process.stderr.write(`console: ${message.text()}\n`);
  });
  await page.goto(server.url);
  return page;
}

async function login(page: Page): Promise<void> {
  await page.getByLabel('User name').fill('admin');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Services' }).waitFor();
  await page.waitForTimeout(900);
}

async function shoot(page: Page, name: string, fullPage = false): Promise<void> {
  await page.screenshot({ path: join(directory, `${name}.png`), fullPage });
}

const entry = await open('light', 900, 700);
await entry.getByLabel('User name').fill('admin');
await entry.getByLabel('Password').fill('wrong');
await entry.getByRole('button', { name: 'Log in' }).click();
await entry.getByRole('alert').waitFor();
await shoot(entry, 'login-refused');

for (const scheme of ['light', 'dark'] as const) {
  server.mood = scheme === 'light' ? 'good' : 'bad';
  const page = await open(scheme, 1500);
  await login(page);
  await shoot(page, `${scheme}-wide`, true);
  await page.getByRole('button', { name: 'Scale web' }).click();
  await page.getByLabel('One more').click();
  await shoot(page, `${scheme}-scale`);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: /^Logs of web-0/ }).click();
  await page.waitForTimeout(500);
  await shoot(page, `${scheme}-logs`);
  await page.close();
}
server.mood = 'bad';
const narrow = await open('light', 390, 844);
await login(narrow);
await shoot(narrow, 'narrow', true);
server.mood = 'empty';
const empty = await open('dark', 1200);
await login(empty);
await shoot(empty, 'empty', true);
server.mood = 'good';
const away = await open('light', 1200, 700);
await login(away);
server.away = true;
server.dropStreams();
await away.getByText('The platform does not answer').first().waitFor();
await shoot(away, 'away');
await browser.close();
