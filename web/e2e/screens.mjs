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
const RUNS_WANTED = 12;

const SHOTS = [
  { name: 'targets-light', path: '/', width: 1280, height: 760, scheme: 'light' },
  { name: 'targets-dark', path: '/', width: 1280, height: 760, scheme: 'dark' },
  { name: 'targets-360', path: '/', width: 360, height: 740, scheme: 'light', scale: 2 },
  { name: 'detail-light', detail: 'http', width: 1280, height: 1080, scheme: 'light' },
  { name: 'detail-dark', detail: 'icmp', width: 1280, height: 980, scheme: 'dark' },
];

async function take(browser, target, storage, shot) {
  const page = await openPage(browser, target.url, { ...shot, storage, deviceScaleFactor: shot.scale ?? 1 });
  await page.goto(target.url + (shot.path ?? '/'));
  await page.getByText('Live', { exact: true }).waitFor();
  await page.locator('tr.row').first().waitFor();
  if (shot.detail) {
    await page.goto(`${target.url}/?type=${shot.detail}&state=ok`);
    await page.locator('.row-link').first().click();
    await page.locator('.chart canvas').waitFor();
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
