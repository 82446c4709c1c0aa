// Pure part of the translations: types, parameters and plurals. No state, no DOM.
import type { ru } from './ru';

export type Lang = 'ru' | 'en';
export const LANGS: readonly Lang[] = ['ru', 'en'];
export type Plural = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };
export type Message = string | Plural;
export type Key = keyof typeof ru;
export type Messages = Readonly<Record<Key, Message>>;
export type Params = Readonly<Record<string, string | number>>;

const rules: Record<Lang, Intl.PluralRules> = {
  ru: new Intl.PluralRules('ru'),
  en: new Intl.PluralRules('en'),
};

/** The text of `message` in `lang`; `params.n` picks the plural form; unknown parameters stay visible. */
export function render(message: Message, lang: Lang, params: Params = {}): string {
  const text = typeof message === 'string' ? message : pick(message, lang, Number(params['count'] ?? params['n'] ?? 0));
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = params[name];
    return value === undefined ? whole : String(value);
  });
}

function pick(message: Plural, lang: Lang, n: number): string {
  return message[rules[lang].select(n)] ?? message.other;
}
