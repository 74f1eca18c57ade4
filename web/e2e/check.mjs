// SPDX-License-Identifier: PostgreSQL
//
// All checks of the page, one after the other, and one line of counts at the end. A type
// error counts as one failed check; the others are counted by their own runners.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const REPORTS = fileURLToPath(new URL('../../build/web-check', import.meta.url));
const total = { passed: 0, failed: 0, skipped: 0 };

function run(title, args) {
  console.log(`== web: ${title}`);
  const { status } = spawnSync(process.execPath, args, { cwd: WEB, stdio: 'inherit' });
  return status === 0;
}

function add(passed, failed, skipped = 0) {
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
}

/** A runner that broke before it could count is a failure as well. */
function addReport(file, ok, counts) {
  if (!existsSync(file)) return add(0, 1);
  const [passed, failed, skipped] = counts(readFileSync(file, 'utf8'));
  return add(passed, failed || (ok ? 0 : 1), skipped);
}

const tapCount = (text, name) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);

rmSync(REPORTS, { recursive: true, force: true });
mkdirSync(REPORTS, { recursive: true });

const typed = run('types', ['node_modules/typescript/bin/tsc', '--noEmit']);
add(typed ? 1 : 0, typed ? 0 : 1);

const unit = `${REPORTS}/unit.json`;
const unitOk = run('unit tests', ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${unit}`]);
addReport(unit, unitOk, (text) => {
  const report = JSON.parse(text);
  return [report.numPassedTests, report.numFailedTests, report.numPendingTests];
});

const tap = `${REPORTS}/e2e.tap`;
const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout', '--test-reporter=tap', `--test-reporter-destination=${tap}`];
const e2eOk = run('end to end', ['--test', ...reporters, 'e2e/stub.test.mjs', 'e2e/real.test.mjs']);
addReport(tap, e2eOk, (text) => [tapCount(text, 'pass'), tapCount(text, 'fail') + tapCount(text, 'cancelled'), tapCount(text, 'skipped')]);

if (process.env.UPDATE_SCREENSHOTS === '1' && !run('screenshots', ['e2e/screens.mjs'])) add(0, 1);

const skipped = total.skipped ? `, ${total.skipped} skipped` : '';
console.log(`web: ${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed ? 1 : 0);
