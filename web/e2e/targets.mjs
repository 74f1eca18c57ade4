// SPDX-License-Identifier: PostgreSQL
//
// What the journey runs against: always the stub; and a real control plane when there is
// one: PROBECTL_URL with PROBECTL_SIGNIN (a sign-in link), or the built binaries, from which
// a private one is started in a directory of its own and stopped at the end.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Stub } from '../dev/stub.mjs';

export const WEB_ROOT = process.env.PROBECTL_WEB_OUT ?? fileURLToPath(new URL('../../build/web', import.meta.url));
const PROBECTL = fileURLToPath(new URL('../../build/bin/probectl', import.meta.url));
const NEEDED = ['', '-gateway', '-ingest', '-agent'];
const UP_MS = 180_000;

export async function startStub(options = {}) {
  assert.ok(existsSync(join(WEB_ROOT, 'index.html')), `${WEB_ROOT} is missing: make -C web build`);
  const stub = new Stub({ root: WEB_ROOT, ...options });
  const url = await stub.listen();
  return { name: 'stub', stub, url, link: () => `${url}/signin#${stub.signInCode()}`, stop: () => stub.close() };
}

/* Not of the range that the kernel takes for connections that go out: one of those would have it first. */
function freePort(tries = 100) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', (error) => (tries > 0 ? resolve(freePort(tries - 1)) : reject(error)));
    server.listen(15000 + randomInt(17000), '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function startPrivate() {
  const home = mkdtempSync(join(tmpdir(), 'probectl-web-'));
  const run = (...args) => execFileSync(PROBECTL, args, { env: { ...process.env, PROBECTL_HOME: home }, encoding: 'utf8', timeout: UP_MS, stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = () => {
    try {
      run('down', '--home', home);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  };
  try {
    const [gateway, ingest] = [await freePort(), await freePort()];
    run('up', '--home', home, '--gateway-listen', `127.0.0.1:${gateway}`, '--ingest-listen', `127.0.0.1:${ingest}`);
  } catch (error) {
    // What `up` said matters more than that `down` has nothing to stop.
    try {
      stop();
    } catch {}
    throw new Error(`probectl up failed: ${error.stderr || error.message}`);
  }
  const link = () => run('signin', '--home', home).trim().split(/\s+/).at(-1);
  return { name: 'control plane', url: new URL(link()).origin, link, stop };
}

/** Why there is no real control plane to test, or null. */
export function realMissing() {
  if (process.env.PROBECTL_URL) return null;
  const missing = NEEDED.filter((suffix) => !existsSync(PROBECTL + suffix)).map((suffix) => `probectl${suffix}`);
  return missing.length ? `not built: ${missing.join(', ')}; set PROBECTL_URL or run make` : null;
}

export async function startReal() {
  const { PROBECTL_URL: url, PROBECTL_SIGNIN: link } = process.env;
  if (realMissing()) return null;
  if (!url) return startPrivate();
  assert.ok(link, 'PROBECTL_URL is set: set PROBECTL_SIGNIN to a fresh link of `probectl signin` as well');
  return { name: 'control plane', url: new URL(url).origin, link: () => link, stop: () => undefined };
}
