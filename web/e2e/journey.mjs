// SPDX-License-Identifier: PostgreSQL
//
// What a person does on the page, from the link to the result of a test just added.
// The same steps run against the stub and against a real control plane.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { assertAccessible, assertFits, DEADLINE_MS, finish, launch, openPage, step, until } from './browser.mjs';

const FIRST_RESULT_MS = 10_000;
const NEXT_RESULT_MS = 70_000;

const rowOf = (page, name) => page.locator('tr.row', { has: page.getByText(name, { exact: true }) });
const addButton = (page) => page.getByRole('button', { name: 'Add test', exact: true }).first();

/** Targets are on this machine, which takes a permission. */
async function addTest(page, { type = 'ICMP', target, name, interval = '2' }) {
  await page.getByRole('button', { name: /^Add (a )?test$/ }).first().click();
  const dialog = page.getByRole('dialog', { name: 'Add a test' });
  await dialog.getByRole('radio', { name: type, exact: true }).check();
  await dialog.getByLabel('Target').fill(target);
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Interval (seconds)').fill(interval);
  await dialog.getByLabel('Timeout (seconds)').fill('1');
  await dialog.getByLabel('Private addresses').selectOption('true');
  await dialog.getByRole('button', { name: 'Add test' }).click();
  await dialog.waitFor({ state: 'detached' });
}

async function menuOf(page, name, item) {
  await page.getByRole('button', { name: `Actions for ${name}` }).first().click();
  await page.getByRole('menuitem', { name: item }).click();
}

async function deleteTest(page, name) {
  await menuOf(page, name, 'Delete');
  const dialog = page.getByRole('dialog', { name: 'Delete this test?' });
  await dialog.getByRole('button', { name: 'Delete test' }).click();
  await rowOf(page, name).first().waitFor({ state: 'detached' });
}

export function journey(target) {
  let browser;
  let storage;
  let web;
  const stamp = Date.now().toString(36);
  const open = (options = {}) => openPage(browser, target().url, { storage, ...options });
  const targets = async (options) => {
    const page = await open(options);
    await page.goto(target().url);
    await page.locator('tr.row').first().waitFor();
    return page;
  };

  before(async () => {
    browser = await launch();
    // Something of our own to measure by HTTP.
    web = createServer((_, response) => response.end('pong\n'));
    await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
  });
  after(async () => {
    await browser?.close();
    web?.close();
  });

  step('serves the page under a policy that allows nothing but itself', async () => {
    const response = await fetchHead(browser, target().url);
    assert.match(response['content-security-policy'] ?? '', /default-src 'self'/);
    assert.doesNotMatch(response['content-security-policy'], /unsafe-|\*|data:|https?:/);
  });

  step('explains how to get a link when there is no session', async () => {
    const page = await openPage(browser, target().url);
    page.allow.push(/status of 401/);
    await page.goto(target().url);
    await page.getByRole('heading', { name: 'Sign in to probectl' }).waitFor();
    await page.getByText('probectl signin').waitFor();
    await assertAccessible(page, 'sign-in');
    await finish(page);
  });

  step('signs in by the link, once, and leaves no code in the address', async () => {
    const page = await openPage(browser, target().url);
    const link = target().link();
    await page.goto(link);
    await page.getByText('Live', { exact: true }).waitFor();
    assert.equal(page.url(), `${target().url}/`);
    await page.locator('tr.row').first().waitFor();
    storage = await page.context().storageState();
    const cookie = storage.cookies.find((c) => c.name === 'probectl_session');
    assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === 'Lax');

    const second = await openPage(browser, target().url);
    second.allow.push(/status of 401/);
    await second.goto(link);
    await second.getByRole('alert').waitFor();
    assert.equal(new URL(second.url()).hash, '');
    await finish(second);
    await finish(page);
  });

  step('shows rows that follow the stream without a reload', async () => {
    const page = await targets();
    // Rows move when states change, so they are followed by key.
    const times = () =>
      page.locator('tr.row').evaluateAll((rows) => Object.fromEntries(rows.map((row) => [row.dataset.key, row.querySelector('.c-age time')?.dateTime])));
    const seen = await times();
    await page.evaluate(() => (globalThis.sameDocument = true));
    await until(
      'a newer result in the same row',
      async () => Object.entries(await times()).some(([key, time]) => seen[key] && time > seen[key]),
      NEXT_RESULT_MS,
    );
    assert.equal(await page.evaluate(() => globalThis.sameDocument), true);
    await assertAccessible(page, 'targets');
    await finish(page);
  });

  step('adds a test, shows it waiting at once and its first result in time', async () => {
    const page = await targets();
    const name = `first light ${stamp}`;
    await addTest(page, { target: '127.0.0.1', name });
    const began = Date.now();
    const row = rowOf(page, name);
    await row.first().waitFor();
    await until('first result', async () => (await row.first().locator('.state-ok').count()) > 0, FIRST_RESULT_MS);
    console.log(`# first result after ${Date.now() - began} ms`);
    assert.match(await row.first().locator('.c-latency').innerText(), /\d (µs|ms)/);
    await finish(page);
  });

  step('keeps a menu open when the first result of its test comes', async () => {
    const page = await targets();
    const name = `menu ${stamp}`;
    let held = [];
    await page.route('**/v1/results/latest**', (route) => (held ? void held.push(route) : route.continue()));
    await addTest(page, { target: '127.0.0.1', name });
    await rowOf(page, name).getByText(/waiting for first result/).waitFor();
    await page.getByRole('button', { name: `Actions for ${name}` }).click();
    await page.getByRole('menuitem', { name: 'Edit' }).waitFor();
    const answers = held;
    held = null;
    await Promise.all(answers.map((route) => route.continue().catch(() => {}))); // the page may have given it up
    await rowOf(page, name).first().locator('.state-ok').waitFor({ timeout: FIRST_RESULT_MS });
    assert.ok(await page.getByRole('menuitem', { name: 'Edit' }).isVisible());
    await page.keyboard.press('Escape');
    await deleteTest(page, name);
    await finish(page);
  });

  step('says waiting until there is a result', async () => {
    // The answer is held back, so that the moment is there to be seen.
    const page = await targets();
    await page.route('**/v1/results/latest**', (route) => (held ? undefined : route.continue()));
    let held = true;
    const name = `patience ${stamp}`;
    await addTest(page, { target: '127.0.0.1', name, interval: '5' });
    await rowOf(page, name).getByText(/waiting for first result/).waitFor();
    held = false;
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    await page.reload();
    await page.locator('tr.row').first().waitFor();
    await deleteTest(page, name);
    await finish(page);
  });

  step('edits, pauses, resumes and deletes', async () => {
    const page = await targets();
    const name = `changeling ${stamp}`;
    await addTest(page, { target: '127.0.0.1', name });

    await menuOf(page, name, 'Edit');
    const dialog = page.getByRole('dialog', { name: 'Edit test' });
    await dialog.getByLabel('Name').fill(`${name} b`);
    await dialog.getByLabel('Packets a run').fill('2');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await rowOf(page, `${name} b`).first().waitFor();

    await menuOf(page, `${name} b`, 'Pause');
    await rowOf(page, `${name} b`).first().locator('.state-paused').waitFor();
    await menuOf(page, `${name} b`, 'Resume');
    await rowOf(page, `${name} b`).first().locator('.state-paused').waitFor({ state: 'detached' });

    await menuOf(page, `${name} b`, 'Edit');
    await page.getByRole('dialog', { name: 'Edit test' }).waitFor();
    assert.equal(await page.getByLabel('Packets a run').inputValue(), '2');
    await page.keyboard.press('Escape');
    await deleteTest(page, `${name} b`);
    await finish(page);
  });

  step('says next to the field what is wrong with it', async () => {
    const page = await targets();
    await addButton(page).click();
    const dialog = page.getByRole('dialog', { name: 'Add a test' });
    await dialog.getByRole('radio', { name: 'TCP', exact: true }).check();
    await dialog.getByLabel('Target').fill('192.0.2.1');
    await dialog.getByLabel('Timeout (seconds)').fill('99');
    await dialog.getByRole('button', { name: 'Add test' }).click();
    await dialog.getByText('Add a port: host:port, or the port field below.').waitFor();
    await dialog.getByText('Between 0.1 and 60.').waitFor();
    await until('focus on the first such field', () => dialog.getByLabel('Target').evaluate((e) => e === document.activeElement));
    await assertAccessible(page, 'form with problems');
    await finish(page);
  });

  step('offers the agents as targets of a test between agents', async () => {
    const page = await targets();
    const name = `pair ${stamp}`;
    await addButton(page).click();
    const dialog = page.getByRole('dialog', { name: 'Add a test' });
    await dialog.getByRole('radio', { name: 'Agent to agent', exact: true }).check();
    const offered = await dialog.locator('datalist option').evaluateAll((options) => options.map((option) => option.value));
    const agents = await dialog.getByLabel('Runs on').locator('option').allTextContents();
    assert.ok(offered.length > 0 && offered.every((value) => agents.some((text) => text.startsWith(value))), `${offered} of ${agents}`);
    assert.equal(await dialog.getByLabel('Target').evaluate((e) => e.list.options.length), offered.length);
    await assertAccessible(page, 'form of a test between agents');
    await page.keyboard.press('Escape');
    // A reflector that is not there: it fails, and the form knows it again.
    await addTest(page, { type: 'Agent to agent', target: '127.0.0.1:9', name });
    await rowOf(page, name).first().waitFor();
    await menuOf(page, name, 'Edit');
    const edit = page.getByRole('dialog', { name: 'Edit test' });
    assert.ok(await edit.getByRole('radio', { name: 'Agent to agent', exact: true }).isChecked());
    assert.equal(await edit.getByLabel('Packets a run').getAttribute('placeholder'), '10');
    await page.keyboard.press('Escape');
    await deleteTest(page, name);
    await finish(page);
  });

  step('shows the phases of an HTTP test', async () => {
    const page = await targets();
    const name = `web ${stamp}`;
    await addTest(page, { type: 'HTTP', target: `http://127.0.0.1:${web.address().port}/ping`, name });
    await until('first result', async () => (await rowOf(page, name).first().locator('.state-ok').count()) > 0, FIRST_RESULT_MS);
    await rowOf(page, name).first().getByRole('link').click();
    await page.getByRole('heading', { name, exact: true }).waitFor();
    const phases = page.getByRole('region', { name: /^Phases/ });
    await phases.getByText('Wait for first byte').waitFor();
    assert.ok((await phases.locator('rect[class^="bar-"]:not(.bar-track)').count()) >= 3);
    await page.getByRole('region', { name: 'Measurements' }).getByText('Time to first byte').waitFor();
    await page.locator('.plot .bar-connect :is(path, rect)').first().waitFor();
    await page.locator('.plot-readout').getByText('Total').waitFor();
    await page.getByText('Runs of this range, newest first').click();
    await page.locator('.runs tbody tr').first().waitFor();
    await assertAccessible(page, 'HTTP detail');

    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByRole('button', { name: 'Delete test' }).click();
    await page.waitForURL(`${target().url}/`);
    await rowOf(page, name).first().waitFor({ state: 'detached' });
    await finish(page);
  });

  step('shows latency and loss of a ping in detail, live, and a run chosen from its history', async () => {
    const page = await targets();
    await rowOf(page, `first light ${stamp}`).first().getByRole('link').click();
    await page.getByRole('heading', { name: 'Round trips' }).waitFor();
    await page.getByText(/of \d+ packets answered/).waitFor();
    const time = page.locator('.facts time').first();
    const seen = await time.getAttribute('datetime');
    await until('the next run', async () => (await time.getAttribute('datetime')) !== seen, NEXT_RESULT_MS);
    // The series of the store, drawn, growing by itself and read by keyboard.
    const chart = page.getByRole('application', { name: /^Round trip over time: \d+ runs?, 0 failed/ });
    await chart.locator('.plot-line, .plot-dot').first().waitFor();
    const counted = () => chart.getAttribute('aria-label').then((label) => Number(/(\d+) runs?/.exec(label)[1]));
    const before_ = await counted();
    await until('the series grows', async () => (await counted()) > before_, NEXT_RESULT_MS);
    await chart.focus();
    await page.keyboard.press('ArrowLeft');
    assert.match(await page.locator('.panel-chart [aria-live]').innerText(), /Round trip [\d.]+ (µs|ms).*Loss 0 %, \d+ runs?, 0 failed/);
    await page.getByRole('button', { name: '30 d' }).click();
    await until('the range in the URL', () => page.url().endsWith('?range=30d'));
    await page.reload();
    await chart.locator('.plot-line, .plot-dot').first().waitFor();
    assert.equal(await page.getByRole('button', { name: '30 d' }).getAttribute('aria-pressed'), 'true');
    await page.getByText('Runs of this range, newest first').click();
    const oldest = page.locator('.runs tbody tr').last();
    await oldest.getByRole('button').click();
    await page.getByText(/You see the run of/).waitFor();
    assert.match(page.url(), /\?range=30d&run=/);
    await page.getByRole('button', { name: 'Back to the newest' }).click();
    await page.getByText(/You see the run of/).waitFor({ state: 'detached' });
    await finish(page);
  });

  step('shows a failure in words and with its type', async () => {
    const page = await targets();
    const name = `closed door ${stamp}`;
    const closed = await new Promise((resolve) => {
      const server = createServer();
      server.listen(0, '127.0.0.1', () => {
        const { port } = server.address();
        server.close(() => resolve(port));
      });
    });
    if (target().stub) target().stub.temper = 'refused';
    await addTest(page, { type: 'TCP', target: `127.0.0.1:${closed}`, name });
    await until('first failure', async () => (await rowOf(page, name).first().locator('.state-failed').count()) > 0, FIRST_RESULT_MS);
    await rowOf(page, name).first().getByRole('link').click();
    const failure = page.getByRole('region', { name: 'Failure' });
    await failure.getByText('Connection refused', { exact: true }).waitFor();
    await failure.getByText('connect_refused').waitFor();
    await page.goto(target().url);
    await rowOf(page, name).first().waitFor();
    await deleteTest(page, name);
    if (target().stub) target().stub.temper = null;
    await finish(page);
  });

  step('filters and sorts in the URL', async () => {
    const page = await targets();
    const name = `first light ${stamp}`;
    await page.getByLabel('Filter by text').fill(name);
    await until('one row', async () => (await page.locator('tr.row').count()) === (await rowOf(page, name).count()));
    await page.getByRole('button', { name: 'Latency' }).click();
    await page.getByRole('button', { name: 'Latency' }).click();
    const url = new URL(page.url());
    assert.equal(url.searchParams.get('q'), name);
    assert.equal(url.searchParams.get('sort'), '-latency');
    assert.equal(await page.locator('th.c-latency').getAttribute('aria-sort'), 'descending');
    await page.reload();
    await rowOf(page, name).first().waitFor();
    assert.equal(await page.getByLabel('Filter by text').inputValue(), name);
    await page.getByRole('button', { name: 'Clear' }).click();
    await until('all rows', async () => (await page.locator('tr.row').count()) > (await rowOf(page, name).count()));
    await finish(page);
  });

  step('is usable by keyboard alone', async () => {
    const page = await targets();
    const name = `keys ${stamp}`;
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim() ?? '');
    const tabTo = async (want) => {
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab');
        if (want.test(await focused())) return;
      }
      assert.fail(`Tab does not reach ${want}`);
    };
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to the content');
    await page.keyboard.press('Enter');
    await tabTo(/^Add test$/);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, 'solid');
    await page.keyboard.press('Enter');
    await until('focus in the form', () => page.evaluate(() => document.activeElement?.getAttribute('name') === 'target'));
    await page.keyboard.type('127.0.0.1');
    await page.keyboard.press('Tab');
    await page.keyboard.type(name);
    await page.keyboard.press('Enter');
    await rowOf(page, name).first().waitFor();
    await until('focus back on the button', async () => /^Add test$/.test(await focused()));
    await tabTo(new RegExp(`^Actions for ${name}$`));
    await page.keyboard.press('ArrowDown');
    await until('the first entry', async () => (await focused()) === 'Edit');
    await page.keyboard.press('ArrowUp');
    assert.equal(await focused(), 'Delete');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Delete this test?' }).waitFor();
    await tabTo(/^Delete test$/);
    await page.keyboard.press('Enter');
    await rowOf(page, name).first().waitFor({ state: 'detached' });
    await finish(page);
  });

  step('fits 360 px', async () => {
    const page = await targets({ width: 360, height: 740, hasTouch: true });
    await assertFits(page);
    await assertAccessible(page, 'targets at 360 px');
    await addButton(page).click();
    await page.getByLabel('Target').waitFor();
    await assertFits(page);
    await page.keyboard.press('Escape');
    await page.locator('.row-link').first().click();
    await page.getByRole('heading', { name: 'Measurements' }).waitFor();
    await assertFits(page);
    await assertAccessible(page, 'detail at 360 px');
    for (const path of ['/agents', '/audit']) {
      await page.goto(target().url + path);
      await page.locator('table.list tbody tr').first().waitFor();
      await assertFits(page);
      await assertAccessible(page, `${path} at 360 px`);
    }
    await finish(page);
  });

  step('has a dark side, by preference and by choice', async () => {
    const page = await targets({ scheme: 'dark' });
    const ink = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ink();
    await assertAccessible(page, 'targets, dark');
    await page.getByRole('button', { name: /^Theme: system/ }).click();
    const light = await ink();
    assert.notEqual(light, dark);
    await page.reload();
    await page.locator('tr.row').first().waitFor();
    assert.equal(await ink(), light, 'the choice is remembered');
    await page.getByRole('button', { name: /^Theme: light/ }).click();
    assert.equal(await ink(), dark);
    await page.locator('.row-link').first().click();
    await page.locator('.plot svg').waitFor();
    await assertAccessible(page, 'detail, dark');
    await finish(page);
  });

  step('lists agents and makes a join token on demand', async () => {
    const page = await open();
    await page.goto(`${target().url}/agents`);
    await page.locator('.state', { hasText: 'Online' }).first().waitFor();
    await page.getByRole('button', { name: 'Enrol an agent' }).click();
    await page.getByRole('button', { name: 'Make a join token' }).click();
    await page.getByLabel('Commands that enrol an agent').getByText(/pjt_/).waitFor();
    await assertAccessible(page, 'enrol dialog');
    await page.getByRole('button', { name: 'Done' }).click();
    await finish(page);
  });

  step('shows what was done in the audit trail', async () => {
    const page = await open();
    await page.goto(`${target().url}/audit`);
    await page.locator('table.list tbody tr').first().waitFor();
    await until('an event of a test', async () => (await page.getByText(/test\.|\/v1\/tests/).count()) > 0);
    await assertAccessible(page, 'audit');
    await finish(page);
  });

  step('accounts for every record', async () => {
    const page = await open();
    await page.goto(`${target().url}/status`);
    await page.getByRole('region', { name: 'Network' }).getByText('All accounted for').waitFor();
    await assertAccessible(page, 'status');
    await page.setViewportSize({ width: 360, height: 740 });
    await assertFits(page);
    await finish(page);
  });

  step('leaves nothing behind', async () => {
    const page = await targets();
    await deleteTest(page, `first light ${stamp}`);
    await finish(page);
  });

  step('signs out', async () => {
    const page = await targets();
    page.allow.push(/status of 401/);
    await page.getByRole('button', { name: 'Account' }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in to probectl' }).waitFor();
    await page.goto(`${target().url}/agents`);
    await page.getByRole('heading', { name: 'Sign in to probectl' }).waitFor();
    await finish(page);
  });
}

async function fetchHead(browser, url) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const response = await context.request.get(url, { timeout: DEADLINE_MS });
  assert.equal(response.status(), 200);
  const headers = response.headers();
  await context.close();
  return headers;
}

/** `start` gives the target, or null with a reason to skip. */
export function describeJourney(title, start, whyNot) {
  describe(title, () => {
    let running = null;
    let started = false;
    before(async () => {
      running = await start();
      started = true;
    });
    after(async () => running?.stop());
    if (whyNot) it(whyNot, { skip: true }, () => assert.ok(started));
    else journey(() => running);
  });
}
