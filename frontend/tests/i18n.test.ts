// Both languages say everything, in the same parameters, and Russian has its plural forms.
import { describe, expect, it } from 'vitest';
import { en } from '../src/lib/i18n/en';
import { render, type Key, type Message } from '../src/lib/i18n/messages';
import { ru } from '../src/lib/i18n/ru';

const keys = Object.keys(ru) as Key[];
const texts = (message: Message): string[] => (typeof message === 'string' ? [message] : Object.values(message));
const names = (message: Message): string[] =>
  [...new Set(texts(message).flatMap((text) => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1] ?? '')))].sort();

describe('translations', () => {
  it('have the same keys in both languages', () => {
    expect(Object.keys(en).sort()).toEqual([...keys].sort());
  });

  it.each(keys)('%s is filled and takes the same parameters', (key) => {
    for (const message of [ru[key], en[key]]) for (const text of texts(message)) expect(text.trim()).not.toBe('');
    expect(names(en[key])).toEqual(names(ru[key]));
  });

  it.each(keys.filter((key) => typeof ru[key] !== 'string'))('%s has every Russian plural form', (key) => {
    expect(Object.keys(ru[key]).sort()).toEqual(['few', 'many', 'one', 'other']);
  });

  it('pick the plural form by the number, whatever it looks like when written', () => {
    const of = (n: string, count: number): string => render(ru['worklist.count'], 'ru', { n, count });
    expect(of('1', 1)).toBe('1 исследование');
    expect(of('2', 2)).toBe('2 исследования');
    expect(of('11', 11)).toBe('11 исследований');
    expect(of('1 021', 1021)).toBe('1 021 исследование');
    expect(render(en['worklist.count'], 'en', { n: 1 })).toBe('1 study');
  });

  it('never put a missing parameter out as "undefined"', () => {
    expect(render('{a} и {b}', 'ru', { a: 1 })).toBe('1 и {b}');
  });
});
