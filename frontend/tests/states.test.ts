// What a study's state means for the page.
import { describe, expect, it } from 'vitest';
import { STATES } from '../src/lib/api/types';
import { canAnalyse, isBusy, pollDelay, shownVerdict } from '../src/lib/states';

describe('a study', () => {
  it('that ended without a verdict shows "no result", never nothing and never normal', () => {
    for (const state of STATES) {
      const ended = state === 'refused' || state === 'failed';
      expect(shownVerdict({ state, verdict: null })).toBe(ended ? 'no_result' : null);
    }
    expect(shownVerdict({ state: 'done', verdict: 'normal' })).toBe('normal');
  });
  it('can be analysed when its slices are there and nothing runs', () => {
    for (const state of STATES.filter(isBusy)) expect(canAnalyse({ state, volume_ready: true })).toBe(false);
    expect(canAnalyse({ state: 'ready', volume_ready: true })).toBe(true);
    expect(canAnalyse({ state: 'refused', volume_ready: false })).toBe(false);
  });
  it('is looked at often only while something runs', () => {
    expect(pollDelay(['done', 'analysing'])).toBeLessThan(pollDelay(['done', 'needs_choice', 'refused']));
  });
});
