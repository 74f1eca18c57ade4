// SPDX-License-Identifier: PostgreSQL
//
// The pictures of the documentation, taken of a private control plane with a few tests on
// loopback; SCREENSHOTS_FROM=stub takes them of the example network instead.
import assert from 'node:assert/strict';
import { mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { finish, launch, openPage, until } from './browser.mjs';
import { realMissing, startReal, startStub } from './targets.mjs';

const OUT = fileURLToPath(new URL('../../docs/img', import.meta.url));
const BYTES_MAX = 200 * 1024;
const RUNS_WANTED = 30;

const SHOTS = [
  { name: 'targets-light', path: '/', width: 1280, height: 800, scheme: 'light' },
  { name: 'targets-dark', path: '/', width: 1280, height: 800, scheme: 'dark' },
  { name: 'targets-360', path: '/', width: 360, height: 740, scheme: 'light', scale: 2 },
  { name: 'detail-light', detail: 'http', width: 1280, height: 1080, scheme: 'light' },
  { name: 'detail-dark', detail: 'icmp', width: 1280, height: 980, scheme: 'dark' },
];

/** What there is to measure on a machine without a network; two of them are meant to fail. */
const tests = (port, ca_file) => [
  { name: 'loopback, IPv6', type: 'icmp', target: '::1', interval_seconds: 2, timeout_seconds: 2 },
  { name: 'loopback, large packets', type: 'icmp', target: '127.0.0.1', interval_seconds: 2, timeout_seconds: 2, params: { payload_bytes: 8000, count: 3 } },
  { name: 'loopback, other address', type: 'icmp', target: '127.8.8.8', interval_seconds: 5, timeout_seconds: 2 },
  { name: 'gateway connect, ten times', type: 'tcp', target: `localhost:${port}`, interval_seconds: 2, timeout_seconds: 2, params: { count: 10 } },
  { name: 'a port where nothing listens', type: 'tcp', target: '127.0.0.1:9', interval_seconds: 5, timeout_seconds: 2 },
  { name: 'the page', type: 'http', target: `https://localhost:${port}/`, interval_seconds: 2, timeout_seconds: 2, params: { ca_file } },
  { name: 'ready for requests', type: 'http', target: `https://127.0.0.1:${port}/readyz`, interval_seconds: 2, timeout_seconds: 2, params: { ca_file, expect_status: '200' } },
  { name: 'API without a token', type: 'http', target: `https://127.0.0.1:${port}/v1/me`, interval_seconds: 5, timeout_seconds: 2, params: { ca_file, expect_status: '2xx' } },
];

async function addTests(page, url) {
  // The agent trusts the gateway's certificate as the starter test does.
  const starters = await (await page.request.get(`${url}/v1/tests`)).json();
  const caFile = starters.items.find((test) => test.params.ca_file)?.params.ca_file;
  assert.ok(caFile, 'no starter test names a ca_file');
  for (const test of tests(new URL(url).port, caFile)) {
    const data = { ...test, params: { ...test.params, allow_private_targets: true } };
    const response = await page.request.post(`${url}/v1/tests`, { data, headers: { origin: url, 'content-type': 'application/json' } });
    assert.equal(response.status(), 201, await response.text());
  }
}

async function take(browser, target, storage, shot) {
  const page = await openPage(browser, target.url, { ...shot, storage, deviceScaleFactor: shot.scale ?? 1 });
  await page.goto(target.url + (shot.path ?? '/'));
  await page.getByText('Live', { exact: true }).waitFor();
  await page.locator('tr.row').first().waitFor();
  if (shot.detail) {
    await page.goto(`${target.url}/?type=${shot.detail}&state=ok&sort=-latency`);
    await page.locator('.row-link').first().click();
    await page.locator('.plot-line').first().waitFor();
  }
  await page.evaluate(() => document.fonts.ready);
  const file = `${OUT}/${shot.name}.png`;
  await page.screenshot({ path: file });
  await finish(page);
  const { size } = statSync(file);
  assert.ok(size <= BYTES_MAX, `${file} has ${size} bytes, more than ${BYTES_MAX}`);
  console.log(`${shot.name}.png ${Math.round(size / 1024)} KiB`);
}

async function main() {
  const fromStub = process.env.SCREENSHOTS_FROM === 'stub';
  const missing = fromStub ? null : realMissing();
  assert.equal(missing, null, missing ?? '');
  mkdirSync(OUT, { recursive: true });
  const target = fromStub ? await startStub() : await startReal();
  const browser = await launch();
  try {
    const page = await openPage(browser, target.url);
    await page.goto(target.link());
    await page.locator('tr.row').first().waitFor();
    const storage = await page.context().storageState();
    if (!fromStub) await addTests(page, target.url);
    const drawn = () => page.locator('.spark').evaluateAll((all) => Math.max(0, ...all.map((s) => Number(/last (\d+) runs/.exec(s.getAttribute('aria-label'))?.[1] ?? 0))));
    await until('some history', async () => (await drawn()) >= RUNS_WANTED, 300_000);
    await finish(page);
    for (const shot of SHOTS) await take(browser, target, storage, shot);
  } finally {
    await browser.close();
    await target.stop();
  }
}

await main();
