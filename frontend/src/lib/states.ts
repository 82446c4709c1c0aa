// What the states of a study mean for the page. Pure.
import type { Scan, ScanState, Verdict } from './api/types';

const BUSY: readonly ScanState[] = ['uploaded', 'preparing', 'queued', 'analysing'];

/** Something is running: the page looks again soon. */
export function isBusy(state: ScanState): boolean {
  return BUSY.includes(state);
}

/** The verdict to show: a study that ended without one has no result, which is never "normal". */
export function shownVerdict(scan: Pick<Scan, 'state' | 'verdict'>): Verdict | null {
  return scan.verdict ?? (scan.state === 'refused' || scan.state === 'failed' ? 'no_result' : null);
}

/** An analysis may be started (again). */
export function canAnalyse(scan: Pick<Scan, 'state' | 'volume_ready'>): boolean {
  return scan.state === 'ready' || scan.state === 'done' || scan.state === 'failed' || (scan.state === 'refused' && scan.volume_ready);
}

/** Milliseconds until a list or a study is looked at again. */
export function pollDelay(states: readonly ScanState[]): number {
  return states.some(isBusy) ? 1000 : 10_000;
}
