// Grey values, slices and keys of the viewer.
import { describe, expect, it } from 'vitest';
import type { Geometry } from '../src/lib/api/types';
import { blockOrder, SliceStore } from '../src/lib/viewer/volume';
import { paint, step, table, WINDOWS } from '../src/lib/viewer/window';

const geometry: Geometry = {
  shape: [5, 2, 3],
  spacing_mm: [2, 1, 1],
  affine_lps: [
    [1, 0, 0, -1],
    [0, 1, 0, -0.5],
    [0, 0, 2, -100],
    [0, 0, 0, 1],
  ],
  block_depth: 2,
  blocks: 3,
  order: [1, 0, 2],
};

describe('the slice store', () => {
  it('puts blocks where they belong, the short last one too', () => {
    const store = new SliceStore(geometry);
    store.put(2, Int16Array.from({ length: 6 }, (_, i) => i - 3).buffer);
    expect([...store.slice(4)]).toEqual([-3, -2, -1, 0, 1, 2]);
    expect([store.has(4), store.has(3), store.loaded]).toEqual([true, false, 1]);
  });
  it('refuses a block of the wrong size', () => {
    expect(() => new SliceStore(geometry).put(0, new ArrayBuffer(10))).toThrow(RangeError);
    expect(() => new SliceStore(geometry).put(3, new ArrayBuffer(12))).toThrow(RangeError);
  });
  it('knows where a slice lies', () => {
    expect(new SliceStore(geometry).zOf(3)).toBe(-94);
  });
  it('loads the shown block first, then the order of the service', () => {
    expect(blockOrder(geometry, 4)).toEqual([2, 1, 0]);
    expect(blockOrder(geometry, 2)).toEqual([1, 0, 2]);
  });
});

describe('a window', () => {
  it('is black below, white above, mid-grey at its level', () => {
    const grey = table(WINDOWS[1]);
    expect([grey[-160 + 32768], grey[40 + 32768], grey[240 + 32768], grey[65535]]).toEqual([0, 128, 255, 255]);
  });
  it('paints opaque grey pixels', () => {
    const rgba = new Uint8ClampedArray(8);
    paint(Int16Array.of(-1024, 3000), table(WINDOWS[0]), rgba);
    expect([...rgba]).toEqual([55, 55, 55, 255, 255, 255, 255, 255]);
  });
});

describe('keys', () => {
  it('go toward the feet when down, and stop at both ends', () => {
    expect(step('ArrowDown', 5, 10)).toBe(4);
    expect(step('ArrowUp', 9, 10)).toBe(9);
    expect(step('PageDown', 5, 10)).toBe(0);
    expect(step('Home', 5, 10)).toBe(9);
    expect(step('End', 5, 10)).toBe(0);
    expect(step('x', 5, 10)).toBeUndefined();
  });
});
