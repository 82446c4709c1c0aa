// Uploads under way: they live above the pages, so that one can go on working meanwhile.
import { api } from '../api/client';
import { t } from '../i18n/index.svelte';
import { wordsOf } from '../toasts.svelte';
import type { Unit } from './split';
import { transfer } from './transfer';

const AT_ONCE = 2;

export type UploadState = 'waiting' | 'sending' | 'finishing' | 'done' | 'failed' | 'cancelled';

export class UploadItem {
  state = $state<UploadState>('waiting');
  sent = $state(0);
  total = $state(0);
  error = $state('');
  scanId = $state('');
  readonly controller = new AbortController();

  constructor(
    readonly key: number,
    readonly unit: Unit,
    readonly patientId: string,
    readonly analyse: boolean,
  ) {
    this.total = unit.size;
  }

  get live(): boolean {
    return this.state === 'waiting' || this.state === 'sending' || this.state === 'finishing';
  }
}

class Queue {
  items = $state<UploadItem[]>([]);
  /** grows with every finished upload: lists load again */
  finished = $state(0);
  #last = 0;

  get live(): boolean {
    return this.items.some((item) => item.live);
  }

  constructor() {
    addEventListener('beforeunload', (event) => {
      if (this.live) event.preventDefault();
    });
  }

  add(units: readonly Unit[], patientId: string, analyse: boolean): void {
    for (const unit of units) this.items.push(new UploadItem(++this.#last, unit, patientId, analyse));
    this.#next();
  }

  cancel(item: UploadItem): void {
    item.state = 'cancelled';
    item.controller.abort();
    this.#next();
  }

  dismiss(item: UploadItem): void {
    this.items = this.items.filter((other) => other !== item);
  }

  #next(): void {
    const busy = this.items.filter((item) => item.state === 'sending' || item.state === 'finishing').length;
    const waiting = this.items.filter((item) => item.state === 'waiting');
    for (const item of waiting.slice(0, AT_ONCE - busy)) void this.#run(item);
  }

  async #run(item: UploadItem): Promise<void> {
    item.state = 'sending';
    try {
      const scan = await transfer(item.unit, item.patientId, {
        signal: item.controller.signal,
        sent: (done, total) => {
          item.sent = done;
          item.total = total;
        },
        finishing: () => {
          item.state = 'finishing';
        },
      });
      item.scanId = scan.id;
      item.state = 'done';
      this.finished += 1;
      if (item.analyse) await api.analyse(scan.id);
    } catch (error) {
      if (item.controller.signal.aborted) return;
      item.error = wordsOf(error) || t('app.problem');
      if (item.state !== 'done') item.state = 'failed';
    } finally {
      this.#next();
    }
  }
}

export const uploads = new Queue();
