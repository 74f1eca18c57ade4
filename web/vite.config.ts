// SPDX-License-Identifier: PostgreSQL
//
// One bundle, served by the gateway from its web_root under `default-src 'self'`:
// nothing is inlined (no data: URI, no inline script), nothing comes from elsewhere.
// `npx vite` proxies the API to PROBECTL_URL, or to the stub of `npm run dev`.
import { defineConfig } from 'vite';
import react from '@vitejs/plugin-react';

const api = process.env.PROBECTL_URL ?? 'http://127.0.0.1:8480';
const proxy = Object.fromEntries(
  ['/v1', '/auth', '/healthz', '/readyz', '/openapi.json'].map((path) => [
    path,
    { target: api, changeOrigin: true, secure: false, headers: { origin: api } },
  ]),
);

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: process.env.PROBECTL_WEB_OUT ?? '../build/web',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    sourcemap: false,
    reportCompressedSize: true,
  },
  server: { proxy },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
} as Parameters<typeof defineConfig>[0]);
