// The page's addresses: one table, pure functions. A new page is a row here and in App.svelte.

export type Route =
  | { page: 'worklist' }
  | { page: 'patients' }
  | { page: 'patient'; id: string }
  | { page: 'scan'; id: string }
  | { page: 'settings' }
  | { page: 'missing' };

const patterns: readonly [RegExp, (id: string) => Route][] = [
  [/^\/$/, () => ({ page: 'worklist' })],
  [/^\/patients$/, () => ({ page: 'patients' })],
  [/^\/patients\/([^/]+)$/, (id) => ({ page: 'patient', id })],
  [/^\/scans\/([^/]+)$/, (id) => ({ page: 'scan', id })],
  [/^\/settings$/, () => ({ page: 'settings' })],
];

/** The page at `path`; a trailing slash is accepted, a broken escape is a missing page. */
export function match(path: string): Route {
  const clean = path.length > 1 ? path.replace(/\/+$/, '') || '/' : path;
  for (const [pattern, make] of patterns) {
    const found = pattern.exec(clean);
    if (!found) continue;
    try {
      return make(decodeURIComponent(found[1] ?? ''));
    } catch {
      return { page: 'missing' };
    }
  }
  return { page: 'missing' };
}

export const paths = {
  worklist: '/',
  patients: '/patients',
  settings: '/settings',
  patient: (id: string) => `/patients/${encodeURIComponent(id)}`,
  scan: (id: string) => `/scans/${encodeURIComponent(id)}`,
} as const;
