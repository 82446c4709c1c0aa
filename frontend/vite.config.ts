// Build of the page. In development (`npm run dev`) the API is taken from CT_API, else from port 8000.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const api = process.env['CT_API'] ?? 'http://127.0.0.1:8000';

export default defineConfig({
  plugins: [svelte()],
  server: { proxy: { '/api': api, '/healthz': api, '/readyz': api } },
  build: {
    target: 'es2022',
    // data: URLs of fonts and images would need a wider Content-Security-Policy
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
