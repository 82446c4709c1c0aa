// What was dropped or chosen → what will be uploaded: one unit per study-like thing. Pure.

export interface Picked<F extends { name: string; size: number } = File> {
  /** path inside what was dropped, with '/', without a leading one */
  path: string;
  file: F;
}

export interface Unit<F extends { name: string; size: number } = File> {
  name: string;
  /** `file` goes as it is; `pack` is several files that are zipped on the way */
  kind: 'file' | 'pack';
  files: Picked<F>[];
  size: number;
}

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;
const NIFTI = /\.nii(\.gz)?$/i;
const JUNK = /(^|\/)(__MACOSX\/|\.DS_Store$|\._[^/]*$|Thumbs\.db$|desktop\.ini$)/i;

/**
 * Each archive and each NIfTI is a unit of its own, wherever it lies. Other files belong together by
 * the folder that was dropped; loose ones form one unit. What the system left behind and empty files go.
 */
export function split<F extends { name: string; size: number }>(picked: readonly Picked<F>[]): Unit<F>[] {
  const units: Unit<F>[] = [];
  const groups = new Map<string, Picked<F>[]>();
  for (const one of picked) {
    if (JUNK.test(one.path)) continue;
    if (ARCHIVE.test(one.path) || NIFTI.test(one.path)) {
      units.push({ name: one.file.name, kind: 'file', files: [one], size: one.file.size });
      continue;
    }
    if (one.file.size === 0) continue;
    const slash = one.path.indexOf('/');
    const folder = slash < 0 ? '' : one.path.slice(0, slash);
    const group = groups.get(folder);
    if (group) group.push(one);
    else groups.set(folder, [one]);
  }
  for (const [folder, files] of groups) {
    const size = files.reduce((sum, one) => sum + one.file.size, 0);
    const [first] = files;
    if (first && files.length === 1) units.push({ name: first.file.name, kind: 'file', files, size });
    else units.push({ name: `${folder || 'dicom'}.zip`, kind: 'pack', files, size });
  }
  return units;
}

/** Cut a stream into blobs of exactly `size` bytes (the last may be shorter), never holding more than one. */
export async function* parts(stream: ReadableStream<Uint8Array>, size: number): AsyncGenerator<Blob> {
  let held: BlobPart[] = [];
  let length = 0;
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      let rest = value;
      while (length + rest.byteLength >= size) {
        const cut = size - length;
        held.push(rest.slice(0, cut));
        yield new Blob(held);
        rest = rest.subarray(cut);
        held = [];
        length = 0;
      }
      if (rest.byteLength > 0) {
        held.push(rest.slice());
        length += rest.byteLength;
      }
    }
    if (length > 0) yield new Blob(held);
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
