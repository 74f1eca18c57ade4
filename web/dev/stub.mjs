// SPDX-License-Identifier: PostgreSQL
//
// The gateway's HTTP surface (docs/81-contracts.md section 4) over the model of model.mjs,
// with the same headers, error bodies, paging and event stream. For development and for the
// tests of what a real control plane does not do on demand: refuse, lose the stream, be empty.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { agents as modelAgents, iso, newTest, random, run, tests as modelTests } from './model.mjs';

export const CSP = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const HISTORY_MS = 70 * 60e3;
const TICK_MS = 200;
const STALE_INTERVALS = 3;
const PERMISSIONS = ['test.read', 'test.write', 'test.allow_private', 'agent.read', 'agent.write', 'audit.read', 'diagnostics.read', 'metrics.read'];

class Refusal extends Error {
  constructor(status, code, message, field) {
    super(message);
    Object.assign(this, { status, code, field });
  }
}

const bad = (field, message) => new Refusal(422, 'invalid', message, field);

function checkTest(body, isNew) {
  const known = ['name', 'type', 'target', 'interval_seconds', 'timeout_seconds', 'params', 'enabled', 'agent_id'];
  for (const key of Object.keys(body)) if (!known.includes(key)) throw bad(key, `unknown field ${key}`);
  const has = (key) => body[key] !== undefined;
  if (isNew && !has('type')) throw bad('type', 'type is required');
  if (has('type') && !['icmp', 'tcp', 'udp', 'http', 'dns', 'a2a'].includes(body.type)) throw bad('type', 'type must be one of icmp, tcp, udp, http, dns, a2a');
  if (isNew && !has('target')) throw bad('target', 'target is required');
  if (has('target') && (typeof body.target !== 'string' || !body.target.trim())) throw bad('target', 'target must not be empty');
  if (has('target') && body.target.includes('forbidden')) throw bad('target', 'this target is not allowed for your tenant');
  if (has('name') && !(body.name.length >= 1 && body.name.length <= 128)) throw bad('name', 'a name has 1 to 128 characters');
  if (has('interval_seconds') && !(Number.isInteger(body.interval_seconds) && body.interval_seconds >= 1 && body.interval_seconds <= 86400)) throw bad('interval_seconds', 'interval must be between 1 and 86400 seconds');
  if (has('timeout_seconds') && !(body.timeout_seconds >= 0.1 && body.timeout_seconds <= 60)) throw bad('timeout_seconds', 'timeout must be between 0.1 and 60 seconds');
  if (has('params') && body.params.dscp === 63) throw bad('params.dscp', 'dscp 63 is reserved here');
}

function page(items, query, key, most = 500) {
  const limit = Math.min(most, Math.max(1, Number(query.get('limit') ?? 100)));
  const after = query.get('after');
  const from = after ? items.findIndex((item) => String(key(item)) === Buffer.from(after, 'base64url').toString()) + 1 : 0;
  const part = items.slice(from, from + limit);
  const more = from + limit < items.length;
  return { items: part, next: more ? Buffer.from(String(key(part.at(-1)))).toString('base64url') : null };
}

/** Filters of GET /v1/audit; an action that ends with a dot takes all below it. */
function auditWanted(event, query) {
  const action = query.get('action');
  if (action && event.action !== action && !(action.endsWith('.') && event.action.startsWith(action))) return false;
  return ['actor', 'target', 'outcome'].every((key) => !query.get(key) || event[key] === query.get(key));
}

/** Samples of a run, by series. */
const samplesOf = (r) => [
  ['probectl_probe_success', r.success ? 1 : 0],
  ['probectl_probe_duration_seconds', r.duration_ms / 1000],
  ...Object.entries(r.metrics).map(([name, value]) => [`probectl_probe_${name.replaceAll('.', '_')}`, value]),
];

/** Samples in order of time as GET /v1/metrics/query gives them: a point a step that holds any. */
function pointsOf(samples, step) {
  const points = [];
  for (const [at, value] of samples) {
    const t = Math.floor(at / step) * step;
    const last = points.at(-1);
    if (last?.t !== t) points.push({ t, value, min: value, max: value, samples: 1 });
    else Object.assign(last, { value: (last.value * last.samples + value) / (last.samples + 1), min: Math.min(last.min, value), max: Math.max(last.max, value), samples: last.samples + 1 });
  }
  return points;
}

export class Stub {
  constructor({ scenario = 'busy', root = null, seed = 7, speed = 1, permissions = PERMISSIONS } = {}) {
    Object.assign(this, { root, speed, permissions, collectorRunning: true, refuseEvents: false, paused: false, temper: null, aheadMs: 0 });
    this.random = random(seed);
    this.codes = new Set();
    this.sessions = new Set();
    this.streams = new Set();
    this.audit = [];
    this.requests = [];
    this.revision = 100;
    const now = Date.now();
    this.agents = scenario === 'empty' ? [] : modelAgents(now);
    this.plans = new Map();
    /** test/agent -> runs, oldest first */
    this.runs = new Map();
    if (scenario === 'busy') for (const plan of modelTests(now)) this.addPlan(plan, now - HISTORY_MS);
    this.note('tenant.create', 'default', {}, 'probectl');
    for (const agent of this.agents) this.note('agent.enroll', agent.agent_id, { name: agent.name }, 'probectl');
    for (const { test } of this.plans.values()) this.note('test.create', test.test_id, { type: test.type, target: test.target });
    if (scenario === 'busy') {
      this.note('test.update', [...this.plans.keys()][3], { interval_seconds: 5 });
      this.note('api_token.create', 'grafana', { scope: 'test.read' });
      this.note('test.delete', randomUUID(), { reason: 'role viewer lacks test.write' }, 'viewer@example.net', 'denied');
    }
  }

  /** Which agents run a test, and from when on it has history. */
  addPlan(plan, since) {
    this.plans.set(plan.test.test_id, plan);
    const runners = plan.test.agent_id ? this.agents.filter((a) => a.agent_id === plan.test.agent_id) : this.agents.slice(0, plan.temper === 'calm' && plan.base > 3 ? 2 : 1);
    const step = plan.test.interval_seconds * 1000;
    for (const agent of plan.temper === 'away' ? [this.agents[2]] : runners) {
      const key = `${plan.test.test_id}/${agent.agent_id}`;
      const runs = [];
      const end = plan.temper === 'away' ? Date.now() - 11 * 60e3 : Date.now();
      const offset = this.random() * step;
      for (let at = since + offset; at < end; at += step) {
        // An agent that was restarted: the gap shows in each chart of the second edge.
        if (agent.name === 'ams2-edge' && Math.abs(at - (Date.now() - 240e3)) < 50e3) continue;
        runs.push(run(plan, agent.agent_id, at, this.random));
      }
      this.runs.set(key, { plan, agent, runs, nextAt: (runs.length ? Date.parse(runs.at(-1).started_at) : Date.now()) + step });
    }
  }

  tick() {
    if (this.paused) return;
    const now = Date.now();
    let news = false;
    for (const line of this.runs.values()) {
      if (now < line.nextAt || !line.plan.test.enabled || line.agent.status !== 'online' || line.plan.temper === 'away') continue;
      line.runs.push(run(line.plan, line.agent.agent_id, line.nextAt, this.random));
      line.nextAt += line.plan.test.interval_seconds * 1000;
      news = true;
    }
    for (const agent of this.agents) if (agent.status === 'online' && now - Date.parse(agent.last_seen_at) > 30e3) agent.last_seen_at = iso(now);
    if (news) this.tell('result');
  }

  /** A few of every kind, once there is anything at all. */
  integrity() {
    const stored = [...this.runs.values()].reduce((sum, line) => sum + line.runs.length, 0);
    const some = stored > 0 ? 1 : 0;
    const network = { stored, duplicate: 48 * some, malformed: some, dead_lettered: 2 * some, refused: 0, shed: 20 * some, capped: 0 };
    const metric = { stored: stored * 9, duplicate: 0, malformed: 0, dead_lettered: 0, refused: 0, shed: 0, capped: 30 * some };
    return Object.entries({ metric, network }).map(([plane, fates]) => ({ plane, received: Object.values(fates).reduce((a, b) => a + b, 0), ...fates }));
  }

  note(action, target, data = {}, actor = 'admin@example.net', outcome = 'ok') {
    const seq = this.audit.length + 1;
    const hash = createHash('sha256').update(`${this.audit.at(-1)?.hash ?? ''}${seq}${action}${target}`).digest('hex');
    this.audit.push({ seq, at: iso(Date.now()), actor, action, target, outcome, data, hash });
  }

  tell(kind) {
    for (const stream of this.streams) stream.write(`event: ${kind}\ndata: {}\n\n`);
  }

  dropStreams() {
    for (const stream of this.streams) stream.destroy();
  }

  signInCode() {
    const code = `pcl_${randomBytes(18).toString('base64url')}`;
    this.codes.add(code);
    return code;
  }

  latest() {
    const now = Date.now() + this.aheadMs;
    const items = [];
    for (const { plan, agent, runs } of this.runs.values()) {
      const last = runs.at(-1);
      if (!last) continue;
      const { result_id, ...fields } = last;
      const age = now - Date.parse(last.started_at);
      items.push({
        ...fields,
        agent_name: agent.name,
        test_name: plan.test.name || null,
        state: age > (plan.test.interval_seconds * STALE_INTERVALS + plan.test.timeout_seconds) * 1000 ? 'stale' : last.success ? 'ok' : 'failed',
        received_at: iso(Date.parse(last.started_at) + last.duration_ms + 40),
        interval_seconds: plan.test.interval_seconds,
        spark: runs.slice(-30).map((r) => ({ t: Date.parse(r.started_at), latency_ms: r.latency_ms, ok: r.success })),
      });
    }
    return items;
  }

  testOf(id) {
    const plan = this.plans.get(id);
    if (!plan) throw new Refusal(404, 'not_found', 'no such test');
    return plan;
  }

  create(body) {
    checkTest(body, true);
    const test = newTest({ name: `${body.type} ${body.target}`.slice(0, 128), interval_seconds: 10, timeout_seconds: 3, params: {}, agent_id: null, ...body }, ++this.revision);
    if ([...this.plans.values()].some((p) => p.test.name === test.name)) throw new Refusal(409, 'conflict', `there is a test called "${test.name}"`, 'name');
    const plan = { test, base: 5 + this.random() * 20, temper: this.temper ?? 'calm' };
    this.plans.set(test.test_id, plan);
    // The first run comes a moment later, as with a real agent.
    setTimeout(() => {
      if (!this.plans.has(test.test_id) || this.agents.length === 0) return;
      this.addPlan(plan, Date.now());
      const key = `${test.test_id}/${(test.agent_id ? this.agents.find((a) => a.agent_id === test.agent_id) : this.agents[0]).agent_id}`;
      if (this.runs.has(key)) this.runs.get(key).nextAt = Date.now();
    }, 1500 / this.speed).unref();
    this.note('test.create', test.test_id, { type: test.type, target: test.target });
    this.tell('test');
    return test;
  }

  update(id, body) {
    const plan = this.testOf(id);
    checkTest(body, false);
    Object.assign(plan.test, body, { updated_at: iso(Date.now()), revision: ++this.revision });
    this.note('test.update', id, body);
    this.tell('test');
    return plan.test;
  }

  remove(id) {
    this.testOf(id);
    this.plans.delete(id);
    for (const key of this.runs.keys()) if (key.startsWith(`${id}/`)) this.runs.delete(key);
    this.note('test.delete', id);
    this.tell('test');
  }

  history(query) {
    const key = `${query.get('test_id')}/${query.get('agent_id')}`;
    const since = Date.parse(query.get('since') ?? '') || 0;
    const until = Date.parse(query.get('until') ?? '') || Infinity;
    const runs = (this.runs.get(key)?.runs ?? []).filter((r) => Date.parse(r.started_at) >= since && Date.parse(r.started_at) < until);
    return page(runs.reverse(), query, (r) => r.result_id, 1000);
  }

  metrics(query) {
    this.permit('metrics.read');
    const wanted = (query.get('name') ?? '').split(',');
    const [, test, agent] = /^\{test_id="([^"]+)",agent_id="([^"]+)"\}$/.exec(query.get('match') ?? '') ?? [];
    const step = Number(query.get('step')) * 1000;
    if (!test || !(step > 0) || wanted.length > 16) throw bad('match', 'this stub answers what the page asks');
    const end = Date.now() + this.aheadMs;
    if ((end - Date.parse(query.get('start'))) / step > 11000) throw bad('step', 'step must be above 0 and make at most 11000 points of the range');
    const start = Math.floor(Date.parse(query.get('start')) / step) * step;
    const series = new Map();
    for (const run of this.runs.get(`${test}/${agent}`)?.runs ?? []) {
      const at = Date.parse(run.started_at);
      if (at < start || at >= end) continue;
      for (const [name, value] of samplesOf(run)) if (wanted.includes(name)) (series.get(name) ?? series.set(name, []).get(name)).push([at, value]);
    }
    const items = [...series].map(([name, samples]) => ({ series_id: randomUUID(), name, labels: { test_id: test, agent_id: agent }, correlation: null, points: pointsOf(samples, step) }));
    return { items, next: null, function: 'avg', start: iso(start), end: iso(end), step: step / 1000, relative_error: 0, collector_running: this.collectorRunning };
  }

  route(method, path, query, body) {
    const id = /^\/v1\/tests\/([^/]+)$/.exec(path)?.[1];
    if (id && method === 'GET') return [200, this.testOf(id).test];
    if (id && method === 'PATCH') return this.permit('test.write') && [200, this.update(id, body)];
    if (id && method === 'DELETE') return this.permit('test.write') && [204, this.remove(id)];
    switch (`${method} ${path}`) {
      case 'GET /v1/me':
        return [
          200,
          {
            tenant: { tenant_id: '0197a000-0000-7000-8000-000000000001', slug: 'default', name: 'Example Net' },
            principal: { kind: 'user', id: '0197a000-0000-7000-8000-000000000002', name: 'Admin', email: 'admin@example.net' },
            branding: { product_name: 'probectl', accent: null, logo_svg: null, support_url: null },
            permissions: this.permissions,
          },
        ];
      case 'GET /v1/results/latest': {
        const want = ['type', 'agent_id', 'test_id', 'state'].filter((k) => query.get(k));
        const items = this.latest().filter((l) => want.every((k) => l[k] === query.get(k)));
        return [200, { ...page(items, query, (l) => `${l.test_id}/${l.agent_id}`), collector_running: this.collectorRunning }];
      }
      case 'GET /v1/results':
        return [200, this.history(query)];
      case 'GET /v1/tests':
        return [200, page([...this.plans.values()].map((p) => p.test), query, (t) => t.test_id)];
      case 'POST /v1/tests':
        return this.permit('test.write') && [201, this.create(body)];
      case 'GET /v1/agents':
        return [200, page(this.agents, query, (a) => a.agent_id)];
      case 'POST /v1/agents/join-tokens': {
        this.permit('agent.write');
        this.note('join_token.create', 'agent');
        return [201, { token: `pjt_${randomBytes(24).toString('base64url')}`, expires_at: iso(Date.now() + 3600e3) }];
      }
      case 'GET /v1/metrics/query':
        return [200, this.metrics(query)];
      case 'GET /v1/integrity': {
        this.permit('diagnostics.read');
        return [200, { items: this.integrity(), next: null, collector_running: this.collectorRunning }];
      }
      case 'GET /v1/audit':
        this.permit('audit.read');
        return [200, page([...this.audit].reverse().filter((e) => auditWanted(e, query)), query, (e) => e.seq)];
      default:
        throw new Refusal(404, 'not_found', `no route ${method} ${path}`);
    }
  }

  permit(permission) {
    if (!this.permissions.includes(permission)) throw new Refusal(403, 'forbidden', `your role lacks ${permission}`);
    return true;
  }

  session(request) {
    const token = /probectl_session=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
    if (!token || !this.sessions.has(token)) throw new Refusal(401, 'unauthenticated', 'sign in first');
    return token;
  }

  events(request, response) {
    this.session(request);
    if (this.refuseEvents) throw new Refusal(503, 'unavailable', 'too many event streams');
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write(': hello\n\n');
    this.streams.add(response);
    const beat = setInterval(() => response.write(': beat\n\n'), 15e3);
    response.on('close', () => {
      clearInterval(beat);
      this.streams.delete(response);
    });
  }

  async api(request, response, url) {
    const json = (status, body, headers = {}) => {
      response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers });
      response.end(body === undefined ? '' : JSON.stringify(body));
    };
    try {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const change = request.method !== 'GET';
      if (change && !/^application\/json/.test(request.headers['content-type'] ?? '')) throw new Refusal(415, 'content_type', 'Content-Type must be application/json');
      if (change && request.headers.origin !== `http://${request.headers.host}`) throw new Refusal(403, 'origin', 'Origin is not this host');
      const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : {};
      if (url.pathname === '/auth/signin') {
        if (!this.codes.delete(body.code)) throw new Refusal(401, 'unauthenticated', 'this link was used already, has expired, or was never valid; run "probectl signin" for a new one');
        const token = `pcs_${randomBytes(24).toString('base64url')}`;
        this.sessions.add(token);
        return json(204, undefined, { 'Set-Cookie': `probectl_session=${token}; HttpOnly; Secure; SameSite=Lax; Path=/` });
      }
      const token = this.session(request);
      if (url.pathname === '/auth/signout') {
        this.sessions.delete(token);
        return json(204, undefined, { 'Set-Cookie': 'probectl_session=; Max-Age=0; Path=/' });
      }
      const [status, answer] = this.route(request.method, url.pathname, url.searchParams, body);
      return json(status, answer);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return json(error.status, { error: { code: error.code, message: error.message, ...(error.field ? { field: error.field } : {}), request_id: randomUUID() } });
    }
  }

  async file(response, pathname) {
    if (!this.root) return response.writeHead(404).end();
    const path = extname(pathname) ? normalize(pathname) : '/index.html';
    try {
      const body = await readFile(join(this.root, path));
      response.writeHead(200, { 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream', 'Content-Security-Policy': CSP, 'X-Content-Type-Options': 'nosniff' });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  }

  async handle(request, response) {
    const url = new URL(request.url, 'http://localhost');
    response.setHeader('Date', new Date(Date.now() + this.aheadMs).toUTCString());
    if (/^\/(v1|auth)\//.test(url.pathname)) this.requests.push(`${request.method} ${url.pathname}`);
    if (url.pathname === '/v1/events') {
      try {
        return this.events(request, response);
      } catch (error) {
        return response.writeHead(error.status ?? 500).end();
      }
    }
    if (/^\/(v1|auth)\//.test(url.pathname)) return this.api(request, response, url);
    return this.file(response, url.pathname);
  }

  async listen(port = 0) {
    this.server = createServer((request, response) => {
      this.handle(request, response).catch((error) => {
        console.error(error);
        response.writeHead(500).end();
      });
    });
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this.url;
  }

  async close() {
    clearInterval(this.timer);
    this.dropStreams();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
