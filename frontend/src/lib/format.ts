// Numbers, dates and sizes as people read them. Pure: the language is a parameter.
import type { Lang } from './i18n/messages';

const locale: Record<Lang, string> = { ru: 'ru-RU', en: 'en-GB' };

export function number(value: number, lang: Lang, digits = 0): string {
  return new Intl.NumberFormat(locale[lang], { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(
    value,
  );
}

/** A probability 0..1 as a percentage that never claims certainty: 0.9996 is "> 99.9 %". */
export function probability(value: number, lang: Lang): string {
  const percent = value * 100;
  if (percent > 99.9) return `> ${number(99.9, lang, 1)} %`;
  if (percent < 0.1) return `< ${number(0.1, lang, 1)} %`;
  return `${number(percent, lang, percent >= 10 && percent <= 90 ? 0 : 1)} %`;
}

/** A share 0..1 as whole per cent; a small one is "< 1 %", never "0 %". */
export function share(value: number, lang: Lang): string {
  if (value > 0 && value < 0.01) return '< 1 %';
  return `${number(value * 100, lang)} %`;
}

/** Distance between two probabilities in percentage points, for words: whole, or one digit when small. */
export function points(value: number, lang: Lang): string {
  const distance = Math.abs(value) * 100;
  return number(distance, lang, distance < 1 ? 1 : 0);
}

const units: Record<Lang, readonly string[]> = {
  ru: ['Б', 'КБ', 'МБ', 'ГБ', 'ТБ'],
  en: ['B', 'kB', 'MB', 'GB', 'TB'],
};

/** Bytes in decimal units, as the service's limits are given. */
export function bytes(value: number, lang: Lang): string {
  let unit = 0;
  let rest = Math.max(0, value);
  while (rest >= 999.5 && unit < 4) {
    rest /= 1000;
    unit += 1;
  }
  const digits = unit > 0 && rest < 9.95 ? 1 : 0;
  const rounded = number(rest, lang, digits).replace(/[.,]0$/, '');
  return `${rounded} ${units[lang][unit] ?? ''}`;
}

export function dateTime(iso: string, lang: Lang): string {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return '';
  return new Intl.DateTimeFormat(locale[lang], {
    day: '2-digit',
    month: '2-digit',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
  }).format(moment);
}

/** A calendar date: ISO (1970-12-31) or DICOM (19701231); anything else is shown as it is. */
export function date(text: string, lang: Lang): string {
  const parts = /^(\d{4})-?(\d{2})-?(\d{2})$/.exec(text.trim());
  if (!parts) return text;
  const [year, month, day] = [Number(parts[1]), Number(parts[2]), Number(parts[3])];
  const moment = new Date(Date.UTC(year, month - 1, day));
  if (moment.getUTCMonth() !== month - 1 || moment.getUTCDate() !== day) return text;
  return new Intl.DateTimeFormat(locale[lang], {
    day: '2-digit',
    month: '2-digit',
    year: 'numeric',
    timeZone: 'UTC',
  }).format(moment);
}

export function mm(value: number, lang: Lang, digits = 1): string {
  // a true minus and no minus zero, so that columns of numbers read well
  const rounded = Number(value.toFixed(digits));
  return number(Object.is(rounded, -0) ? 0 : rounded, lang, digits).replace('-', '−');
}

export function fullName(person: { first_name: string; last_name: string }): string {
  return `${person.last_name} ${person.first_name}`.trim();
}
