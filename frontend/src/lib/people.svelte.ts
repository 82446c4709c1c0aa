// Names of patients for lists of studies, which carry only ids. Fetched once each.
import { SvelteMap } from 'svelte/reactivity';
import { api } from './api/client';
import type { Patient } from './api/types';

const known = new SvelteMap<string, Patient>();
const asked = new Set<string>();

export function personOf(id: string | null): Patient | undefined {
  return id === null ? undefined : known.get(id);
}

export function know(patients: readonly Patient[]): void {
  for (const patient of patients) known.set(patient.id, patient);
}

/** Fetch those that are not known yet; one that cannot be had is asked for again next time. */
export async function meet(ids: readonly (string | null)[]): Promise<void> {
  const wanted = [...new Set(ids)].filter((id): id is string => id !== null && !known.has(id) && !asked.has(id));
  await Promise.all(
    wanted.map(async (id) => {
      asked.add(id);
      try {
        known.set(id, await api.patient(id));
      } catch {
        asked.delete(id);
      }
    }),
  );
}
