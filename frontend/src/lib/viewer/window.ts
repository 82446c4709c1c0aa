// Window width and level: HU → grey. Pure.

export interface Window {
  id: 'lung' | 'mediastinum' | 'bone';
  level: number;
  width: number;
}

/** Presets in the order of their keys 1, 2, 3. */
export const WINDOWS: readonly [Window, Window, Window] = [
  { id: 'lung', level: -600, width: 1500 },
  { id: 'mediastinum', level: 40, width: 400 },
  { id: 'bone', level: 400, width: 1800 },
];

/** Grey 0..255 for every HU from −32768: one look-up table per window (DICOM PS3.3 C.11.2.1.2 LINEAR_EXACT). */
export function table({ level, width }: Window): Uint8ClampedArray {
  const grey = new Uint8ClampedArray(65536);
  for (let index = 0; index < grey.length; index += 1) {
    grey[index] = ((index - 32768 - level) / width + 0.5) * 255;
  }
  return grey;
}

/** Fill RGBA pixels from HU through the table. */
export function paint(hu: Int16Array, grey: Uint8ClampedArray, rgba: Uint8ClampedArray): void {
  const words = new Uint32Array(rgba.buffer, rgba.byteOffset, hu.length);
  for (let index = 0; index < hu.length; index += 1) {
    const value = grey[(hu[index] ?? 0) + 32768] ?? 0;
    words[index] = 0xff000000 | (value << 16) | (value << 8) | value;
  }
}

/** Which slice a key goes to; the list of slices is shown from the head (last) down to the feet (0). */
export function step(key: string, slice: number, total: number): number | undefined {
  const moves: Record<string, number> = {
    ArrowUp: slice + 1,
    ArrowRight: slice + 1,
    ArrowDown: slice - 1,
    ArrowLeft: slice - 1,
    PageUp: slice + 10,
    PageDown: slice - 10,
    Home: total - 1,
    End: 0,
  };
  const wanted = moves[key];
  return wanted === undefined ? undefined : Math.min(total - 1, Math.max(0, wanted));
}
