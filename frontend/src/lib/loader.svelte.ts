// Data for a page: the last answer stays on the screen while the next one is fetched; late answers are dropped.
import { untrack } from 'svelte';
import { ServiceAway } from './api/problem';

export class Loader<T> {
  data = $state.raw<T | undefined>();
  error = $state.raw<unknown>();
  loading = $state(false);
  #controller: AbortController | undefined;

  constructor(readonly fetch: (signal: AbortSignal) => Promise<T>) {}

  async load(): Promise<void> {
    this.#controller?.abort();
    const controller = (this.#controller = new AbortController());
    this.loading = true;
    try {
      const data = await this.fetch(controller.signal);
      if (controller.signal.aborted) return;
      this.data = data;
      this.error = undefined;
    } catch (error) {
      // while the service is away the banner says so, and what is on the screen stays
      if (controller.signal.aborted || error instanceof ServiceAway) return;
      this.error = error;
    } finally {
      if (this.#controller === controller) this.loading = false;
    }
  }

  stop(): void {
    this.#controller?.abort();
  }
}

/** Call `tick` again and again, `delay()` ms after the last call ended; sleeps while the tab is hidden. */
export function repeat(tick: () => Promise<void>, delay: () => number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const next = (): void => {
    if (!stopped) timer = setTimeout(() => void run(), untrack(delay));
  };
  const run = async (): Promise<void> => {
    if (!document.hidden) await tick();
    next();
  };
  next();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
