// The packed volume in the browser: int16 HU slices (z from the feet), filled block by block.
import type { Geometry } from '../api/types';

export class SliceStore {
  readonly data: Int16Array;
  readonly there: Uint8Array;
  readonly depth: number;
  readonly height: number;
  readonly width: number;

  constructor(readonly geometry: Geometry) {
    [this.depth, this.height, this.width] = geometry.shape;
    this.data = new Int16Array(this.depth * this.height * this.width);
    this.there = new Uint8Array(this.depth);
  }

  /** Put block `number` (whole slices, little-endian int16); a block of the wrong size is an error. */
  put(number: number, bytes: ArrayBuffer): void {
    const first = number * this.geometry.block_depth;
    const slices = Math.min(this.geometry.block_depth, this.depth - first);
    const plane = this.height * this.width;
    if (slices <= 0 || bytes.byteLength !== slices * plane * 2) {
      throw new RangeError(`block ${number}: ${bytes.byteLength} bytes`);
    }
    this.data.set(new Int16Array(bytes), first * plane);
    this.there.fill(1, first, first + slices);
  }

  has(slice: number): boolean {
    return this.there[slice] === 1;
  }

  slice(index: number): Int16Array {
    const plane = this.height * this.width;
    return this.data.subarray(index * plane, (index + 1) * plane);
  }

  get loaded(): number {
    return this.there.reduce((sum, one) => sum + one, 0);
  }

  /** LPS z in mm of the middle of a slice. */
  zOf(index: number): number {
    const [, , row = []] = this.geometry.affine_lps;
    const [xx = 0, yy = 0, zz = 0, shift = 0] = row;
    return (xx * (this.width - 1)) / 2 + (yy * (this.height - 1)) / 2 + zz * index + shift;
  }
}

/** The block of the shown slice first, then the server's order (middle first). */
export function blockOrder(geometry: Geometry, shown: number): number[] {
  const first = Math.floor(shown / geometry.block_depth);
  const rest = geometry.order.length === geometry.blocks ? geometry.order : [...Array(geometry.blocks).keys()];
  return [first, ...rest.filter((block) => block !== first)];
}
