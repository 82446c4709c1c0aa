// Numbers and dates as a doctor reads them.
import { describe, expect, it } from 'vitest';
import { bytes, date, dateTime, mm, points, probability, share } from '../src/lib/format';

describe('probability', () => {
  it('never claims certainty', () => {
    expect(probability(1, 'ru')).toBe('> 99,9 %');
    expect(probability(0, 'en')).toBe('< 0.1 %');
  });
  it('shows a digit where it matters: near both ends', () => {
    expect(probability(0.946, 'ru')).toBe('94,6 %');
    expect(probability(0.484, 'en')).toBe('48 %');
    expect(probability(0.031, 'en')).toBe('3.1 %');
  });
});

describe('share', () => {
  it('never rounds a finding that is there down to nothing', () => {
    expect(share(0.002, 'ru')).toBe('< 1 %');
    expect(share(0, 'ru')).toBe('0 %');
    expect(share(0.913, 'en')).toBe('91 %');
  });
});

describe('distance from the threshold', () => {
  it('is in points, with a digit when it is small', () => {
    expect(points(-0.464, 'ru')).toBe('46');
    expect(points(0.0042, 'en')).toBe('0.4');
  });
});

describe('bytes', () => {
  it('are decimal, as the limits are', () => {
    expect(bytes(2_048_000_000, 'ru')).toBe('2 ГБ');
    expect(bytes(48_300_000, 'en')).toBe('48 MB');
    expect(bytes(999_600, 'en')).toBe('1 MB');
    expect(bytes(512, 'ru')).toBe('512 Б');
  });
});

describe('dates', () => {
  it('are read in ISO and in DICOM form, without shifting by the time zone', () => {
    expect(date('1961-04-12', 'ru')).toBe('12.04.1961');
    expect(date('20260312', 'en')).toBe('12/03/2026');
  });
  it('that are no dates stay what they are', () => {
    expect(date('20261399', 'ru')).toBe('20261399');
    expect(date('', 'ru')).toBe('');
    expect(dateTime('nonsense', 'ru')).toBe('');
  });
});

describe('millimetres', () => {
  it('have a true minus and no minus zero', () => {
    expect(mm(-125, 'ru')).toBe('−125,0');
    expect(mm(-0.04, 'en')).toBe('0.0');
  });
});
