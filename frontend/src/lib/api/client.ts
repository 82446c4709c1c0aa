// The API as functions. Each answers data or throws `ApiProblem` or `ServiceAway`.
import { language } from '../i18n/index.svelte';
import { service } from '../service.svelte';
import { ApiProblem, problemOf, ServiceAway } from './problem';
import type { Geometry, Job, Limits, Page, Patient, PatientFields, Report, Scan, ScanDetail, ScanState, Upload, Verdict } from './types';

type Query = Record<string, string | number | null | undefined>;

async function call<T>(method: string, path: string, options: { query?: Query; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal | undefined } = {}): Promise<T> {
  const answer = await send(method, path, options);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

async function send(method: string, path: string, { query = {}, body, headers = {}, signal }: { query?: Query; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal | undefined }): Promise<Response> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== '') params.set(name, String(value));
  const search = params.size ? `?${params}` : '';
  let answer: Response;
  try {
    answer = await fetch(path + search, {
      method,
      headers: { 'Accept-Language': language.current, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    service.unreachable();
    throw new ServiceAway(String(error));
  }
  if (answer.ok) {
    service.answered();
    return answer;
  }
  const problem = problemOf(answer.status, await answer.json().catch(() => null));
  if (problem instanceof ServiceAway) service.unreachable();
  else service.answered();
  throw problem;
}

const id = encodeURIComponent;

export const api = {
  patients: (query: { q?: string; limit?: number; offset?: number }, signal?: AbortSignal) =>
    call<Page<Patient>>('GET', '/api/patients', { query, signal }),
  patient: (key: string, signal?: AbortSignal) => call<Patient>('GET', `/api/patients/${id(key)}`, { signal }),
  createPatient: (body: PatientFields) => call<Patient>('POST', '/api/patients', { body }),
  updatePatient: (patient: Patient, body: Partial<PatientFields>) =>
    call<Patient>('PUT', `/api/patients/${id(patient.id)}`, { body }),
  deletePatient: (key: string) => call<void>('DELETE', `/api/patients/${id(key)}`),

  scans: (
    query: { patient_id?: string; state?: ScanState | ''; verdict?: Verdict | ''; sort?: string; limit?: number; offset?: number },
    signal?: AbortSignal,
  ) => call<Page<Scan>>('GET', '/api/scans', { query, signal }),
  scan: (key: string, signal?: AbortSignal) => call<ScanDetail>('GET', `/api/scans/${id(key)}`, { signal }),
  describeScan: (key: string, description: string) =>
    call<ScanDetail>('PUT', `/api/scans/${id(key)}`, { body: { description } }),
  deleteScan: (key: string) => call<void>('DELETE', `/api/scans/${id(key)}`),
  chooseStudy: (key: string, study_uid: string) => call<ScanDetail>('POST', `/api/scans/${id(key)}/choose`, { body: { study_uid } }),
  splitStudies: (key: string) => call<{ items: Scan[] }>('POST', `/api/scans/${id(key)}/choose`, { body: { split: true } }),

  analyse: (key: string, { force = false } = {}) =>
    call<Job>('POST', `/api/scans/${id(key)}/analyze`, {
      query: force ? { force: 'true' } : {},
      headers: { Prefer: 'respond-async', Accept: 'application/json' },
    }),
  cancelJob: (key: string) => call<void>('DELETE', `/api/jobs/${id(key)}`),
  report: (key: string, signal?: AbortSignal) =>
    call<Report>('GET', `/api/scans/${id(key)}/report`, { query: { lang: language.current }, signal }),

  limits: () => call<Limits>('GET', '/api/limits'),
  startUpload: (body: { patient_id: string; file_name: string; description: string; size: number }) =>
    call<Upload>('POST', '/api/uploads', { body }),
  completeUpload: (key: string) => call<Scan>('POST', `/api/uploads/${id(key)}/complete`),
  dropUpload: (key: string) => call<void>('DELETE', `/api/uploads/${id(key)}`),

  geometry: (key: string, signal?: AbortSignal) => call<Geometry>('GET', `/api/scans/${id(key)}/volume`, { signal }),
  block: async (key: string, block: number, signal?: AbortSignal): Promise<ArrayBuffer> =>
    (await send('GET', `/api/scans/${id(key)}/volume/${block}`, { signal })).arrayBuffer(),
};

/** Send one part; fetch cannot tell how much has left, so this is the one place with XMLHttpRequest. */
export function putPart(upload: Upload, number: number, part: Blob, signal: AbortSignal, sent: (bytes: number) => void): Promise<void> {
  const url = upload.parts.find((one) => one.number === number)?.url;
  if (url === undefined) return Promise.reject(new ApiProblem(409, 'upload_incomplete', '', ''));
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = (): void => request.abort();
    signal.addEventListener('abort', stop);
    request.open('PUT', url);
    request.setRequestHeader('Accept-Language', language.current);
    request.upload.onprogress = (event) => sent(event.loaded);
    request.onabort = () => reject(new DOMException('', 'AbortError'));
    request.onerror = () => {
      service.unreachable();
      reject(new ServiceAway('network'));
    };
    request.onload = () => {
      if (request.status < 300) {
        service.answered();
        return resolve();
      }
      const problem = problemOf(request.status, parsed(request.responseText));
      if (problem instanceof ServiceAway) service.unreachable();
      reject(problem);
    };
    request.onloadend = () => signal.removeEventListener('abort', stop);
    request.send(part);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Addresses that the browser itself opens: pictures and downloads. */
export const links = {
  heat: (key: string, slice?: number) =>
    `/api/scans/${id(key)}/heatmap.png?lang=${language.current}${slice === undefined ? '' : `&slice=${slice}`}`,
  reportJson: (key: string) => `/api/scans/${id(key)}/report?lang=${language.current}`,
  reportPdf: (key: string) => `/api/scans/${id(key)}/report.pdf?lang=${language.current}`,
  file: (key: string) => `/api/scans/${id(key)}/file`,
  table: (patient?: string) => `/api/reports.xlsx?lang=${language.current}${patient ? `&patient_id=${id(patient)}` : ''}`,
};
