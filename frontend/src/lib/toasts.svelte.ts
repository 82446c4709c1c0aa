// Short messages at the bottom of the page, read out by screen readers.
import { ApiProblem, ServiceAway } from './api/problem';
import { t } from './i18n/index.svelte';

export interface Toast {
  id: number;
  text: string;
  kind: 'done' | 'problem';
}

const SHOWN_MS = { done: 4000, problem: 9000 };

class Toasts {
  list = $state<Toast[]>([]);
  #last = 0;

  show(text: string, kind: Toast['kind'] = 'done'): void {
    const id = ++this.#last;
    this.list.push({ id, text, kind });
    setTimeout(() => this.close(id), SHOWN_MS[kind]);
  }

  /** Say in words what went wrong; a service that is away has its own banner. */
  problem(error: unknown): void {
    if (error instanceof ServiceAway) return;
    this.show(wordsOf(error), 'problem');
  }

  close(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export function wordsOf(error: unknown): string {
  if (error instanceof ServiceAway) return t('app.away.title');
  if (error instanceof ApiProblem) return error.words;
  return t('app.problem');
}

export const toasts = new Toasts();
