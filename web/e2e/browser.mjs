// SPDX-License-Identifier: PostgreSQL
//
// Chromium with a strict eye: an error in the console, an uncaught exception, a violation of
// the content security policy, or a request to any other host fails the test that caused it.
// What a test provokes on purpose (a refused request) it names in `page.allow`.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { it } from 'node:test';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
export const DEADLINE_MS = 15_000;
const STEP_MS = 120_000;

/** A test that cannot hang the suite. */
export const step = (name, body) => it(name, { timeout: STEP_MS }, body);

export async function launch() {
  assert.ok(existsSync(CHROMIUM), `${CHROMIUM} is missing: apt-get install chromium, or set CHROMIUM`);
  return chromium.launch({ executablePath: CHROMIUM, args: ARGS });
}

/** A page in its own context. `storage` carries a session from one test to the next. */
export async function openPage(browser, origin, options = {}) {
  const { width = 1280, height = 800, scheme = 'light', storage, ...more } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    ignoreHTTPSErrors: true,
    reducedMotion: 'reduce',
    ...(storage ? { storageState: storage } : {}),
    ...more,
  });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const faults = [];
  page.faults = faults;
  page.allow = [];
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`CSP: ${event.violatedDirective} refused ${event.blockedURI || event.sourceFile}`);
    });
  });
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`exception: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(origin)) faults.push(`request elsewhere: ${request.url()}`);
  });
  return page;
}

/** Closes the context and fails for whatever went wrong in it. */
export async function finish(page) {
  const left = page.faults.filter((fault) => !page.allow.some((pattern) => pattern.test(fault)));
  await page.context().close();
  assert.deepEqual(left, []);
}

/** No serious or critical finding of axe. Evaluated by the debugger, so that the CSP stands. */
export async function assertAccessible(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations
      .filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target.join(' ')} (${n.any[0]?.message ?? n.failureSummary})`).slice(0, 3).join('; ')}`);
  });
  assert.deepEqual(found, [], `accessibility of ${where}`);
}

/** Nothing is wider than the screen. */
export async function assertFits(page) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} px wider than the screen`);
}

/** Waits until `probe` gives something true, or fails with `what` at the deadline. */
export async function until(what, probe, ms = DEADLINE_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    assert.ok(Date.now() < end, `not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
