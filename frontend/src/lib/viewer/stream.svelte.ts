// Fetches the packed volume of one study into a SliceStore, the shown slice's block first.
import { api } from '../api/client';
import { ApiProblem, ServiceAway } from '../api/problem';
import type { Geometry } from '../api/types';
import { blockOrder, SliceStore } from './volume';

const AT_ONCE = 3;
const AGAIN_MS = 700;

export class VolumeStream {
  store = $state.raw<SliceStore>();
  /** grows with every block: what depends on the pixels looks again */
  arrived = $state(0);
  error = $state.raw<unknown>();
  readonly #controller = new AbortController();

  constructor(readonly scanId: string) {}

  /** Load everything; `shown` answers the slice on the screen (or undefined before there is one). */
  async run(shown: () => number | undefined): Promise<void> {
    const { signal } = this.#controller;
    try {
      const geometry = await this.#patient(() => api.geometry(this.scanId, signal));
      const store = new SliceStore(geometry);
      this.store = store;
      await this.#blocks(geometry, store, shown);
    } catch (error) {
      if (!signal.aborted) this.error = error;
    }
  }

  async #blocks(geometry: Geometry, store: SliceStore, shown: () => number | undefined): Promise<void> {
    const { signal } = this.#controller;
    const waiting = new Set(blockOrder(geometry, shown() ?? Math.floor(store.depth / 2)));
    const worker = async (): Promise<void> => {
      for (;;) {
        const slice = shown();
        const wanted = slice === undefined ? undefined : Math.floor(slice / geometry.block_depth);
        const block = wanted !== undefined && waiting.has(wanted) ? wanted : waiting.values().next().value;
        if (block === undefined || signal.aborted) return;
        waiting.delete(block);
        store.put(block, await this.#patient(() => api.block(this.scanId, block, signal)));
        this.arrived += 1;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  /** A study that is still being packed, or a service that is away, is waited for. */
  async #patient<T>(action: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await action();
      } catch (error) {
        const later = error instanceof ServiceAway || (error instanceof ApiProblem && error.code === 'not_prepared');
        if (!later || this.#controller.signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  stop(): void {
    this.#controller.abort();
  }
}
