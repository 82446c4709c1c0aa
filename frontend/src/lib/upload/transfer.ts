// One unit to the service: two-step upload. Parts go one after another; a lost connection is waited out.
import { makeZip, predictLength } from 'client-zip';
import { api, putPart } from '../api/client';
import { ServiceAway } from '../api/problem';
import type { Scan } from '../api/types';
import { parts, type Unit } from './split';

const RETRIES = 8;
const RETRY_MS = 2500;

export interface Watch {
  signal: AbortSignal;
  sent(done: number, total: number): void;
  finishing(): void;
}

/** What will be sent, and exactly how many bytes: the service wants the size before the bytes. */
function source(unit: Unit): { size: number; stream(): ReadableStream<Uint8Array> } {
  const [first] = unit.files;
  if (unit.kind === 'file' && first) return { size: first.file.size, stream: () => first.file.stream() };
  const entries = unit.files.map(({ path, file }) => ({ name: path, input: file, lastModified: file.lastModified, size: file.size }));
  return { size: Number(predictLength(entries)), stream: () => makeZip(entries) };
}

export async function transfer(unit: Unit, patientId: string, watch: Watch): Promise<Scan> {
  const { size, stream } = source(unit);
  const upload = await api.startUpload({ patient_id: patientId, file_name: unit.name, description: '', size });
  try {
    let done = 0;
    let number = 0;
    for await (const part of parts(stream(), upload.part_size)) {
      number += 1;
      await retried(watch.signal, () =>
        putPart(upload, number, part, watch.signal, (sent) => watch.sent(done + sent, size)),
      );
      done += part.size;
      watch.sent(done, size);
    }
    watch.finishing();
    return await retried(watch.signal, () => api.completeUpload(upload.id));
  } catch (error) {
    // the service sweeps what is left; telling it now frees the space at once
    if (watch.signal.aborted) await api.dropUpload(upload.id).catch(() => undefined);
    throw error;
  }
}

/** Only a service that does not answer is worth another try; a problem in words is final. */
async function retried<T>(signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await action();
    } catch (error) {
      if (signal.aborted || !(error instanceof ServiceAway) || attempt >= RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
