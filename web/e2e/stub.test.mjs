// SPDX-License-Identifier: PostgreSQL
//
// The journey over the stub, and what only a stub does on demand: being empty, refusing,
// losing the stream, showing a type of the future.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { assertAccessible, assertFits, finish, launch, openPage, step, until } from './browser.mjs';
import { describeJourney } from './journey.mjs';
import { startStub } from './targets.mjs';

describeJourney('journey, stub', startStub);

/** Signed in on a stub of its own; stub and browser end with the test. */
async function visit(browser, options, body, pageOptions = {}) {
  const target = await startStub(options);
  const page = await openPage(browser, target.url, pageOptions);
  try {
    await page.goto(target.link());
    await page.waitForURL(`${target.url}/`);
    await body(page, target.stub, target.url);
    await finish(page);
  } finally {
    await target.stop();
  }
}

const latestCount = (stub) => stub.requests.filter((r) => r === 'GET /v1/results/latest').length;

/** Key and runs of the first test like that. */
const lineOf = (stub, type, temper) => [...stub.runs.entries()].find(([, line]) => line.plan.test.type === type && line.plan.temper === temper);

/** What is asked of the store, as it goes out. */
function questions(page) {
  const asked = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.pathname === '/v1/metrics/query') asked.push(url.searchParams);
  });
  return asked;
}

const spanOf = (query) => Date.now() - Date.parse(query.get('start'));

describe('states of the page', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  step('says what to do when no agent is there', () =>
    visit(browser, { scenario: 'empty' }, async (page) => {
      await page.getByRole('heading', { name: 'Nothing is producing yet' }).waitFor();
      await page.getByText('probectl up').waitFor();
      await assertAccessible(page, 'no agent');
      await page.getByRole('link', { name: 'Enrol an agent' }).click();
      await page.getByRole('heading', { name: 'No agent is enrolled' }).waitFor();
      await assertAccessible(page, 'no agent, agents');
    }));

  step('says what to do when no test is there, and then shows the first', () =>
    visit(browser, { scenario: 'idle' }, async (page) => {
      await page.getByText('There is no test.').waitFor();
      await page.getByRole('button', { name: 'Add a test' }).click();
      await page.getByLabel('Target').fill('192.0.2.9');
      await page.getByRole('dialog').getByRole('button', { name: 'Add test' }).click();
      await page.getByText(/waiting for first result/).waitFor();
      await page.locator('tr.row .state-ok').waitFor();
    }));

  step('puts the server\u2019s complaint at its field', () =>
    visit(browser, {}, async (page) => {
      page.allow.push(/status of 4(09|22)/);
      await page.getByRole('button', { name: 'Add test' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('Target').fill('forbidden.example');
      await dialog.getByRole('button', { name: 'Add test' }).click();
      await dialog.getByText('this target is not allowed for your tenant').waitFor();
      assert.equal(await dialog.getByLabel('Target').getAttribute('aria-invalid'), 'true');
      await dialog.getByLabel('Target').fill('allowed.example');
      assert.equal(await dialog.getByLabel('Target').getAttribute('aria-invalid'), 'false');
      await dialog.getByLabel('DSCP').fill('63');
      await dialog.getByRole('button', { name: 'Add test' }).click();
      await dialog.getByText('dscp 63 is reserved here').waitFor();
      await dialog.getByLabel('Name').fill('Portal');
      await dialog.getByLabel('DSCP').fill('46');
      await dialog.getByRole('button', { name: 'Add test' }).click();
      await dialog.getByText('there is a test called "Portal"').waitFor();
      assert.equal(await dialog.getByLabel('Name').getAttribute('aria-invalid'), 'true');
    }));

  step('asks once for many events, and never without one', () =>
    visit(browser, {}, async (page, stub) => {
      await page.locator('tr.row').first().waitFor();
      stub.paused = true;
      const settled = async () => {
        const n = latestCount(stub);
        // An answer to an agent event, asked after it, shows that earlier events were served.
        const agents = stub.requests.length;
        stub.tell('agent');
        await until('the agents are asked', () => stub.requests.slice(agents).includes('GET /v1/agents'));
        return n === latestCount(stub);
      };
      await until('quiet', settled);
      const quiet = latestCount(stub);
      const began = Date.now();
      let events = 0;
      await until('two seconds of events', () => {
        stub.tell('result');
        events++;
        return Date.now() - began > 2000;
      });
      await until('the last event is served', settled);
      const asked = latestCount(stub) - quiet;
      assert.ok(events > 100, `${events} events`);
      assert.ok(asked >= 2 && asked <= 6, `${asked} requests for ${events} events in 2 s`);
    }));

  step('does not poll', async () => {
    const target = await startStub();
    const page = await openPage(browser, target.url);
    await page.clock.install();
    await page.goto(target.link());
    await page.locator('tr.row').first().waitFor();
    target.stub.paused = true;
    const n = target.stub.requests.length;
    await until('quiet', async () => {
      await page.clock.runFor(1000);
      return target.stub.requests.length === n || n;
    });
    const before_ = target.stub.requests.length;
    await page.clock.runFor(8000);
    assert.deepEqual(target.stub.requests.slice(before_), []);
    await finish(page);
    await target.stop();
  });

  step('shows a lost stream, then a degraded one, and catches up when it is back', () =>
    visit(browser, {}, async (page, stub) => {
      page.allow.push(/status of 503/, /ERR_/);
      await page.getByText('Live', { exact: true }).waitFor();
      stub.refuseEvents = true;
      stub.dropStreams();
      await page.getByText('Reconnecting', { exact: true }).waitFor();
      await page.getByText('Degraded', { exact: true }).waitFor();
      await page.getByRole('alert').getByText(/No updates for/).waitFor();
      await assertAccessible(page, 'degraded');
      stub.refuseEvents = false;
      const n = latestCount(stub);
      const live = page.getByText('Live', { exact: true });
      // It may be back by itself before the button is reached, which is then gone.
      await Promise.any([page.getByRole('button', { name: 'Try now' }).click(), live.waitFor()]);
      await live.waitFor();
      await until('a fresh answer', () => latestCount(stub) > n);
      await page.getByRole('alert').waitFor({ state: 'detached' });
    }));

  step('turns rows stale by itself and says that the collector is down', async () => {
    const target = await startStub();
    const page = await openPage(browser, target.url);
    await page.clock.install();
    await page.goto(target.link());
    await page.locator('tr.row-ok').first().waitFor();
    const skipMs = 100_000;
    Object.assign(target.stub, { paused: true, collectorRunning: false, aheadMs: skipMs });
    await page.clock.runFor(skipMs);
    await until('no row is green', async () => (await page.locator('tr.row-ok').count()) === 0);
    await page.getByText('The collector is not running: no agent can deliver results.').waitFor();
    await page.getByText('not running', { exact: true }).waitFor();
    await finish(page);
    await target.stop();
  });

  step('says that nothing is producing when tests wait and no agent is online', () =>
    visit(browser, { scenario: 'idle' }, async (page, stub) => {
      await until('the stream is open', () => stub.streams.size > 0);
      for (const agent of stub.agents) agent.status = 'offline';
      stub.tell('agent');
      stub.create({ type: 'icmp', target: '192.0.2.77' });
      await page.getByText(/Nothing is producing yet: no agent is online/).waitFor();
      await page.getByText('192.0.2.77').waitFor();
    }));

  step('gives its stream back while nobody looks, and catches up', async () => {
    const target = await startStub();
    const page = await openPage(browser, target.url);
    await page.clock.install();
    const show = (visible) =>
      page.evaluate((v) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => !v });
        Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => (v ? 'visible' : 'hidden') });
        document.dispatchEvent(new Event('visibilitychange'));
      }, visible);
    await page.goto(target.link());
    await page.getByText('Live', { exact: true }).waitFor();
    await show(false);
    await page.clock.runFor(31_000);
    await until('no stream', () => target.stub.streams.size === 0);
    const asked = latestCount(target.stub);
    await show(true);
    await page.getByText('Live', { exact: true }).waitFor();
    await until('a fresh answer', async () => {
      await page.clock.runFor(600);
      return latestCount(target.stub) > asked;
    });
    assert.equal(target.stub.streams.size, 1);
    await finish(page);
    await target.stop();
  });

  step('offers nothing that the role does not permit', () =>
    visit(browser, { permissions: ['test.read', 'agent.read'] }, async (page) => {
      await page.locator('tr.row').first().waitFor();
      assert.equal(await page.getByRole('button', { name: /Add test|Actions for/ }).count(), 0);
      assert.equal(await page.getByRole('link', { name: 'Audit' }).count(), 0);
      await page.getByRole('link', { name: 'Agents' }).click();
      await page.locator('table.list').waitFor();
      assert.equal(await page.getByRole('button', { name: 'Enrol an agent' }).count(), 0);
    }));

  step('comes back to the same page after the session ended', () =>
    visit(browser, {}, async (page, stub, url) => {
      page.allow.push(/status of 401/);
      await page.getByRole('link', { name: 'Agents' }).click();
      await page.locator('table.list').waitFor();
      stub.sessions.clear();
      stub.tell('agent');
      await page.getByText(/Your session has ended/).waitFor();
      await page.getByLabel(/Or paste the link/).fill(`${url}/signin#${stub.signInCode()}`);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('heading', { name: 'Agents' }).waitFor();
      assert.equal(page.url(), `${url}/agents`);
    }));

  step('shows a type of the future by named fields', () =>
    visit(browser, {}, async (page, stub, url) => {
      const line = [...stub.runs.entries()][0];
      Object.assign(line[1].runs.at(-1), {
        type: 'endpoint.wifi',
        latency_ms: null,
        loss_ratio: null,
        metrics: { 'wifi.signal_dbm': -61, 'wifi.roam.ms': 12.5 },
        attributes: { 'probectl.wifi.ssid': 'Example Net', 'wifi.channel': '36' },
      });
      stub.paused = true;
      await page.goto(`${url}/results/${line[0]}`);
      await page.getByText('Wifi signal dbm').waitFor();
      const measured = page.getByRole('region', { name: 'Measurements' });
      await measured.getByText('12.5 ms').waitFor();
      await page.getByRole('application', { name: /^Latency over time/ }).waitFor();
      await page.getByText('Wifi ssid').waitFor();
      assert.equal(await page.getByText(/[{}]/).count(), 0, 'raw JSON');
    }));

  step('shows markup in names and errors as text', () =>
    visit(browser, {}, async (page, stub) => {
      const plan = [...stub.plans.values()][0];
      plan.test.name = '<img src=x onerror=alert(1)>';
      stub.tell('test');
      await page.getByText('<img src=x onerror=alert(1)>').first().waitFor();
      assert.equal(await page.locator('main img').count(), 0);
    }));

  step('pages through the audit trail by key', () =>
    visit(browser, {}, async (page, stub, url) => {
      for (let i = 0; i < 120; i++) stub.note('test.update', `t${i}`);
      await page.goto(`${url}/audit`);
      const rows = page.locator('table.list tbody tr');
      await until('one page', async () => (await rows.count()) === 50);
      stub.note('test.update', 'meanwhile');
      await page.getByRole('button', { name: 'Older events' }).click();
      await until('two pages', async () => (await rows.count()) === 100);
      const numbers = await page.locator('table.list tbody td:first-child').allInnerTexts();
      assert.equal(new Set(numbers).size, 100, 'no event twice');
      await page.getByRole('button', { name: 'Newest events' }).click();
      await page.getByText('meanwhile').waitFor();
    }));

  step('filters the audit trail, with the filters in the URL', () =>
    visit(browser, {}, async (page, stub, url) => {
      stub.note('drill.start', 'probe-7');
      for (let i = 0; i < 60; i++) stub.note('test.update', `t${i}`);
      await page.goto(`${url}/audit`);
      const rows = page.locator('table.list tbody tr');
      await page.getByRole('searchbox', { name: 'Action' }).fill('drill.');
      await page.keyboard.press('Enter');
      await until('only what was asked for', async () => (await rows.count()) === 1);
      assert.match(page.url(), /\?action=drill\.$/);
      await assertAccessible(page, 'filtered audit');
      await page.getByRole('combobox', { name: 'Outcome' }).selectOption('denied');
      await page.getByText('No event like that').waitFor();
      await page.reload();
      await page.getByText('No event like that').waitFor();
      assert.equal(await page.getByRole('searchbox', { name: 'Action' }).inputValue(), 'drill.');
      await page.getByRole('button', { name: 'Clear' }).click();
      await until('everything again', async () => (await rows.count()) === 50);
    }));

  step('says where every record ended, and that nothing has come', () =>
    visit(browser, {}, async (page, stub, url) => {
      await page.goto(`${url}/status`);
      const network = page.getByRole('region', { name: 'Network' });
      await network.getByText('All accounted for').waitFor();
      await network.getByRole('img', { name: /^Stored 9\d/ }).waitFor();
      await assertAccessible(page, 'status');
      await assertFits(page, 'status');
      stub.collectorRunning = false;
      const stored = () => network.getByText(/records received/).innerText();
      const before = await stored();
      await until('it is asked for again as results come', async () => (await stored()) !== before);
      await page.getByText(/not being kept up to date/).waitFor();
      stub.integrity = () => [{ plane: 'network', received: 5, stored: 4, duplicate: 0, malformed: 0, dead_lettered: 0, refused: 0, shed: 0, capped: 0 }];
      await network.getByText('The counts do not add up').waitFor();
      stub.integrity = () => [];
      await page.getByText('Nothing has come yet').waitFor();
    }));

  step('asks once for all series of a chart, and only for the end of them later', () =>
    visit(browser, {}, async (page, stub, url) => {
      const asked = questions(page);
      await page.goto(`${url}/results/${lineOf(stub, 'icmp', 'lossy')[0]}`);
      await page.locator('.plot-line').first().waitFor();
      assert.equal(asked.length, 1);
      assert.equal(asked[0].get('name').split(',').length, 5);
      assert.ok(spanOf(asked[0]) > 3_500_000);
      const chart = page.getByRole('application');
      const label = await chart.getAttribute('aria-label');
      await until('the next run is drawn', async () => (await chart.getAttribute('aria-label')) !== label);
      assert.ok(asked.length > 1 && asked.slice(1).every((query) => spanOf(query) < 400_000), 'only the end is asked for');
      // Events of other tests are no reason to ask: only the newest run, and once more for it, may be under way.
      stub.paused = true;
      const n = asked.length;
      const began = Date.now();
      await until('two seconds of events', () => {
        stub.tell('result');
        return Date.now() - began > 2000;
      });
      assert.ok(asked.length - n <= 2, `${asked.length - n} questions without a run`);
    }));

  step('gives up what is asked when another range is chosen, and has what it had', () =>
    visit(browser, {}, async (page, stub, url) => {
      stub.paused = true;
      const [key] = lineOf(stub, 'icmp', 'lossy');
      const lost = [];
      page.on('requestfailed', (request) => lost.push(request.url()));
      await page.goto(`${url}/results/${key}`);
      await page.locator('.plot-line').first().waitFor();
      const held = [];
      await page.route('**/v1/metrics/query**', (route) => held.push(route));
      await page.getByRole('button', { name: '7 d', exact: true }).click();
      await page.getByText('Loading the chart').waitFor();
      await until('it is asked', () => held.length === 1);
      await page.getByRole('button', { name: '1 h', exact: true }).click();
      await page.locator('.plot-line').first().waitFor();
      await until('the question is given up', () => lost.some((u) => u.includes('step=1800')));
      assert.equal(new URL(page.url()).search, '');
      await page.unrouteAll({ behavior: 'ignoreErrors' });
      await page.goto(`${url}/results/${key}?range=24h`);
      await page.getByRole('button', { name: '24 h', pressed: true }).waitFor();
      await page.locator('.plot-gap').first().waitFor();
      await page.getByText('Steps of 5 min').waitFor();
    }));

  step('draws no line over what is missing, and shows what failed', () =>
    visit(browser, {}, async (page, stub, url) => {
      stub.paused = true;
      // Ten minutes without a run, and a quarter of an hour in which all failed.
      const [key, line] = lineOf(stub, 'tcp', 'calm');
      const ago = (run) => Date.now() - Date.parse(run.started_at);
      line.runs = line.runs.filter((run) => ago(run) < 20 * 60e3 || ago(run) > 30 * 60e3);
      for (const run of line.runs) if (ago(run) > 35 * 60e3 && ago(run) < 50 * 60e3) Object.assign(run, { success: false, latency_ms: null, loss_ratio: 1, metrics: { 'packets.sent': 3, 'packets.received': 0, 'loss.ratio': 1 } });
      await page.goto(`${url}/results/${key}`);
      await until('three stretches', async () => (await page.locator('.plot-line').count()) === 3);
      assert.equal(await page.locator('.plot-gap').count(), 1);
      assert.equal(await page.locator('.plot-band').count(), 3);
      assert.ok((await page.locator('.plot-fail path').last().getAttribute('d')).split('M').length > 55);
      await page.getByText('Failed runs').waitFor();
      const chart = page.getByRole('application', { name: /^Connect over time/ });
      await chart.focus();
      const said = page.locator('.panel-chart [aria-live]');
      for (const [press, words] of [['End', /Connect [\d.]+ (µs|ms) \(/], ['Home', /\d+ runs?, \d failed$/], ['PageDown', /Loss \d/]]) {
        await page.keyboard.press(press);
        assert.match(await said.innerText(), words);
      }
      await until('the gap is told', async () => {
        await page.keyboard.press('ArrowRight');
        return /after a gap$/.test(await said.innerText());
      });
      await page.keyboard.press('Escape');
      assert.equal(await said.innerText(), '');
      assert.equal(await page.locator('.plot-cursor').count(), 0);
      await page.getByText('The chart as a table, newest first').click();
      await until('the rows of the table', async () => (await page.locator('.plot-table tbody tr').count()) >= 10);
      await assertAccessible(page, 'chart and its table');
      await page.setViewportSize({ width: 360, height: 740 });
      await assertFits(page);
    }));

  step('shows each run of a test that was made just now, in every range', () =>
    visit(browser, {}, async (page, stub, url) => {
      const [key, line] = lineOf(stub, 'tcp', 'calm');
      stub.paused = true;
      line.plan.test.created_at = new Date(Date.now() - 5 * 60e3).toISOString();
      line.runs = line.runs.filter((run) => Date.parse(run.started_at) > Date.now() - 5 * 60e3);
      for (const range of ['1h', '30d']) {
        await page.goto(`${url}/results/${key}?range=${range}`);
        await page.getByRole('application', { name: new RegExp(`: ${line.runs.length} runs`) }).waitFor();
        await page.getByText('Steps of 10 s').waitFor();
        assert.ok((await page.locator('.plot-line').first().getAttribute('d')).split('L').length > 25);
      }
    }));

  step('shows the step under the pointer and under a finger', () =>
    visit(
      browser,
      {},
      async (page, stub, url) => {
        stub.paused = true;
        await page.goto(`${url}/results/${lineOf(stub, 'http', 'busy')[0]}`);
        await page.locator('.bar-tls path').first().waitFor();
        await assertAccessible(page, 'stacked phases at 360 px');
        const readout = page.locator('.plot-readout');
        await readout.getByText(/^Newest/).waitFor();
        const box = await page.locator('.plot').boundingBox();
        await page.touchscreen.tap(box.x + box.width / 2, box.y + 60);
        await readout.getByText(/^Newest/).waitFor({ state: 'detached' });
        await page.locator('.plot-cursor').waitFor({ state: 'attached' });
        assert.match(await readout.innerText(), /Total/);
        await assertFits(page);
      },
      { width: 360, height: 740, hasTouch: true },
    ));

  step('draws both directions between agents, and says when their clocks differ', () =>
    visit(browser, {}, async (page, stub, url) => {
      stub.paused = true;
      const [key, line] = lineOf(stub, 'icmp', 'calm');
      for (const run of line.runs) {
        const half = (run.latency_ms ?? 1) / 2;
        const way = (name, ms) => ({ [`${name}.min.ms`]: ms * 0.9, [`${name}.avg.ms`]: ms, [`${name}.max.ms`]: ms * 1.2, [`${name}.loss.ratio`]: 0 });
        Object.assign(run, { type: 'a2a', metrics: { ...run.metrics, ...way('forward', half * 1.4), ...way('reverse', -half * 0.2) } });
        run.attributes['probectl.a2a.oneway'] = 'relative';
      }
      await page.goto(`${url}/results/${key}`);
      await page.getByRole('application', { name: /^Delay by direction over time/ }).waitFor();
      assert.equal(await page.locator('.plot-series-0 .plot-line').count(), 1);
      assert.equal(await page.locator('.plot-series-1 .plot-line').count(), 1);
      assert.equal(await page.locator('.plot-series-2').count(), 0, 'no round trip where there are directions');
      await page.getByText(/how they change, not how long they are/).waitFor();
      await page.locator('.plot-name', { hasText: 'Loss back' }).waitFor();
      await assertAccessible(page, 'both directions');
    }));

  step('says what to do when there is no chart: nothing ran, a failure, no permission', () =>
    visit(browser, {}, async (page, stub, url) => {
      page.allow.push(/status of 503/);
      stub.paused = true;
      const [key, line] = lineOf(stub, 'icmp', 'dead');
      await page.route('**/v1/metrics/query**', (route) => route.fulfill({ status: 503, json: { error: { code: 'unavailable', message: 'the database is away', request_id: 'x' } } }));
      await page.goto(`${url}/results/${key}`);
      const panel = page.getByRole('region', { name: /^Over time/ });
      await panel.getByText('The chart could not be loaded.').waitFor();
      await panel.getByText('the database is away').waitFor();
      await assertAccessible(page, 'chart not loaded');
      await page.unrouteAll({ behavior: 'ignoreErrors' });
      await panel.getByRole('button', { name: 'Try again' }).click();
      // Nothing ever answered: failures and loss are drawn, and no scale is made up.
      await panel.getByRole('application', { name: /\d+ failed$/ }).waitFor();
      assert.equal(await page.locator('.plot-line, .plot-dot').count(), 0);
      assert.equal(await panel.getByText(/ ms$/).count(), 0);

      for (const run of line.runs) run.started_at = new Date(Date.parse(run.started_at) - 2 * 3600e3).toISOString();
      await page.reload();
      await panel.getByText('No run in the last 1 h.').waitFor();
      await assertAccessible(page, 'empty chart');
      await panel.getByRole('button', { name: 'Show 6 h' }).click();
      await panel.getByRole('application').waitFor();
      assert.match(page.url(), /\?range=6h$/);

      stub.permissions = ['test.read'];
      await page.reload();
      await panel.getByText(/does not permit reading metrics/).waitFor();
      await panel.getByText('Runs of this range, newest first').click();
      await panel.locator('.runs tbody tr').first().waitFor();
    }));

  step('shows expired certificates in words', () =>
    visit(browser, {}, async (page, stub, url) => {
      const [key] = [...stub.runs.entries()].find(([, line]) => line.plan.temper === 'expired');
      await page.goto(`${url}/results/${key}`);
      await page.getByRole('heading', { name: 'The certificate has expired' }).waitFor();
      const tls = page.getByRole('region', { name: /^TLS/ });
      await tls.getByText('Not trusted').waitFor();
      await tls.getByText(/ended 3 days ago/).waitFor();
    }));

  step('fits 4k and 360 px with long names', () =>
    visit(browser, {}, async (page, stub) => {
      const plan = [...stub.plans.values()][0];
      plan.test.name = `a-very-long-name-without-any-break-${'x'.repeat(90)}`;
      stub.tell('test');
      for (const size of [{ width: 3840, height: 2160 }, { width: 360, height: 740 }]) {
        await page.setViewportSize(size);
        await page.getByText(plan.test.name).first().waitFor();
        await assertFits(page);
      }
    }));
});
