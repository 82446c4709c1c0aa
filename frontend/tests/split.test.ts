// What was dropped becomes the right uploads, and a stream is cut into exact parts.
import { describe, expect, it } from 'vitest';
import { parts, split, type Picked } from '../src/lib/upload/split';

type Fake = { name: string; size: number };
const pick = (path: string, size = 10): Picked<Fake> => ({ path, file: { name: path.split('/').at(-1) ?? '', size } });
const shape = (picked: Picked<Fake>[]): [string, string, number][] =>
  split(picked).map((unit) => [unit.name, unit.kind, unit.files.length]);

describe('split', () => {
  it('sends every archive and every NIfTI by itself, even out of a folder', () => {
    expect(shape([pick('a.zip'), pick('b.nii.gz'), pick('day/c.TAR.GZ'), pick('d.nii')])).toEqual([
      ['a.zip', 'file', 1],
      ['b.nii.gz', 'file', 1],
      ['c.TAR.GZ', 'file', 1],
      ['d.nii', 'file', 1],
    ]);
  });
  it('packs loose files together and every folder by itself, nested ones with their parent', () => {
    expect(shape([pick('1'), pick('2.dcm'), pick('ivanov/s1/1'), pick('ivanov/s2/1'), pick('petrov/1'), pick('petrov/2')])).toEqual([
      ['dicom.zip', 'pack', 2],
      ['ivanov.zip', 'pack', 2],
      ['petrov.zip', 'pack', 2],
    ]);
  });
  it('sends a single file as it is', () => {
    expect(shape([pick('x/multiframe.dcm')])).toEqual([['multiframe.dcm', 'file', 1]]);
  });
  it('leaves out what the system left behind, and empty files', () => {
    expect(shape([pick('x/.DS_Store'), pick('__MACOSX/x/._1'), pick('x/Thumbs.db'), pick('x/0', 0)])).toEqual([]);
  });
  it('shows an empty archive, so that the page can say so', () => {
    expect(shape([pick('a.zip', 0)])).toEqual([['a.zip', 'file', 1]]);
  });
});

describe('parts', () => {
  const stream = (sizes: number[]): ReadableStream<Uint8Array> => {
    let value = 0;
    return new ReadableStream({
      start(controller) {
        for (const size of sizes) controller.enqueue(Uint8Array.from({ length: size }, () => value++ % 256));
        controller.close();
      },
    });
  };
  const cut = async (sizes: number[], size: number): Promise<number[][]> => {
    const out: number[][] = [];
    for await (const part of parts(stream(sizes), size)) out.push([...new Uint8Array(await part.arrayBuffer())]);
    return out;
  };
  it('are exact, whatever pieces come, and lose no byte', async () => {
    const all = await cut([3, 0, 5, 1, 11], 4);
    expect(all.map((part) => part.length)).toEqual([4, 4, 4, 4, 4]);
    expect(all.flat()).toEqual([...Array(20).keys()]);
  });
  it('end with what is left', async () => {
    expect((await cut([7], 4)).map((part) => part.length)).toEqual([4, 3]);
    expect((await cut([8], 4)).map((part) => part.length)).toEqual([4, 4]);
    expect(await cut([], 4)).toEqual([]);
  });
});
