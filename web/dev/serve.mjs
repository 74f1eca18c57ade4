// SPDX-License-Identifier: PostgreSQL
//
// `npm run dev [-- --port N --scenario busy|idle|empty]`: the stub API with the built page.
// With `npx vite` in another shell the page reloads as it is edited, over the same API.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Stub } from './stub.mjs';

const { values } = parseArgs({
  options: { port: { type: 'string', default: '8480' }, scenario: { type: 'string', default: 'busy' } },
});
const root = fileURLToPath(new URL('../../build/web', import.meta.url));
const stub = new Stub({ scenario: values.scenario, root });
const url = await stub.listen(Number(values.port));
console.log(`stub API and page: ${url}/signin#${stub.signInCode()}`);
console.log(`with vite:         http://localhost:5173/signin#${stub.signInCode()}`);
