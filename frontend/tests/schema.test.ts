// The types of the API are those of the committed OpenAPI document.
import { readFileSync } from 'node:fs';
import openapiTS, { astToString, COMMENT_HEADER } from 'openapi-typescript';
import { expect, it } from 'vitest';

it('schema.d.ts is what `npm run api` makes of openapi.json', async () => {
  const fresh = COMMENT_HEADER + astToString(await openapiTS(new URL('../openapi.json', import.meta.url)));
  expect(readFileSync(new URL('../src/lib/api/schema.d.ts', import.meta.url), 'utf8').trim()).toBe(fresh.trim());
});
