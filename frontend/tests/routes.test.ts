// Every address leads to its page, and the page's own links lead back to it.
import { describe, expect, it } from 'vitest';
import { match, paths } from '../src/lib/routes';

describe('routes', () => {
  it('find each page, with or without a trailing slash', () => {
    expect(match('/')).toEqual({ page: 'worklist' });
    expect(match('/patients')).toEqual({ page: 'patients' });
    expect(match('/patients/')).toEqual({ page: 'patients' });
    expect(match('/scans/019abc')).toEqual({ page: 'scan', id: '019abc' });
    expect(match('/settings')).toEqual({ page: 'settings' });
  });
  it('lead back from links, whatever an id holds', () => {
    expect(match(paths.patient('a/b ?ы'))).toEqual({ page: 'patient', id: 'a/b ?ы' });
  });
  it('call everything else missing, broken escapes included', () => {
    for (const path of ['/api/patients', '/scans', '/scans/1/2', '/patients/%E0%A4%A', '/docs']) {
      expect(match(path)).toEqual({ page: 'missing' });
    }
  });
});
