// The page's language: remembered, Russian first. `t('key', {…})` is reactive wherever it is used.
import { remember, remembered } from '../remember';
import { en } from './en';
import { LANGS, render, type Key, type Lang, type Messages, type Params } from './messages';
import { ru } from './ru';

const texts: Record<Lang, Messages> = { ru, en };

class Language {
  current = $state<Lang>(remembered('ct.lang', LANGS, 'ru'));

  set(lang: Lang): void {
    this.current = lang;
    remember('ct.lang', lang);
    document.documentElement.lang = lang;
  }
}

export const language = new Language();

export function t(key: Key, params?: Params): string {
  return render(texts[language.current][key], language.current, params);
}

/** A text for a code that the server may extend: the code itself where there are no words yet. */
export function tOr(key: string, fallback: string): string {
  return key in ru ? t(key as Key) : fallback;
}

export type { Key, Lang };
