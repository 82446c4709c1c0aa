// The API as functions over the generated types. Each answers data or throws `ApiProblem` or `ServiceAway`.
import createClient from 'openapi-fetch';
import { language } from '../i18n/index.svelte';
import { service } from '../service.svelte';
import { ApiProblem, problemOf, ServiceAway } from './problem';
import type { paths } from './schema';
import type { Geometry, Job, Patient, PatientFields, Report, ScanDetail, ScanState, Upload, Verdict } from './types';

const client = createClient<paths>({ baseUrl: location.origin, fetch: reach });

/** fetch that tells whether the service is there, in the page's language. */
async function reach(request: Request): Promise<Response> {
  request.headers.set('Accept-Language', language.current);
  let answer: Response;
  try {
    answer = await fetch(request);
  } catch (error) {
    if (request.signal.aborted) throw error;
    service.unreachable();
    throw new ServiceAway(String(error));
  }
  if (answer.ok) service.answered();
  return answer;
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer, or its problem as an exception. */
async function data<T>(answering: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answering;
  if (response.ok) return data as T;
  const problem = problemOf(response.status, error);
  if (problem instanceof ServiceAway) service.unreachable();
  else service.answered();
  throw problem;
}

const stop = (signal: AbortSignal | undefined): { signal?: AbortSignal } => (signal ? { signal } : {});

interface PageQuery {
  limit?: number;
  offset?: number;
}

interface ScansQuery extends PageQuery {
  patient_id?: string;
  state?: ScanState | '';
  verdict?: Verdict | '';
  sort?: string;
}

export const api = {
  patients: (query: PageQuery & { q?: string }, signal?: AbortSignal) =>
    data(client.GET('/api/patients', { params: { query }, ...stop(signal) })),
  patient: (patient_id: string, signal?: AbortSignal) =>
    data(client.GET('/api/patients/{patient_id}', { params: { path: { patient_id } }, ...stop(signal) })),
  createPatient: (body: PatientFields) => data(client.POST('/api/patients', { body })),
  updatePatient: ({ id: patient_id }: Patient, body: PatientFields) =>
    data(client.PUT('/api/patients/{patient_id}', { params: { path: { patient_id } }, body })),
  deletePatient: (patient_id: string) =>
    data(client.DELETE('/api/patients/{patient_id}', { params: { path: { patient_id } } })),

  scans: (query: ScansQuery, signal?: AbortSignal) =>
    data(client.GET('/api/scans', { params: { query }, ...stop(signal) })),
  scan: async (scan_id: string, signal?: AbortSignal) =>
    (await data(client.GET('/api/scans/{scan_id}', { params: { path: { scan_id } }, ...stop(signal) }))) as ScanDetail,
  deleteScan: (scan_id: string) => data(client.DELETE('/api/scans/{scan_id}', { params: { path: { scan_id } } })),
  chooseStudy: (scan_id: string, study_uid: string) =>
    data(
      client.POST('/api/scans/{scan_id}/choose', { params: { path: { scan_id } }, body: { study_uid, split: false } }),
    ),
  splitStudies: (scan_id: string) =>
    data(
      client.POST('/api/scans/{scan_id}/choose', {
        params: { path: { scan_id } },
        body: { study_uid: '', split: true },
      }),
    ),

  analyse: (scan_id: string, { force = false } = {}) =>
    data(
      client.POST('/api/scans/{scan_id}/analyze', {
        params: { path: { scan_id }, query: { force } },
        headers: { Prefer: 'respond-async', Accept: 'application/json' },
      }),
    ) as Promise<Job>,
  cancelJob: (job_id: string) => data(client.DELETE('/api/jobs/{job_id}', { params: { path: { job_id } } })),
  report: async (scan_id: string, signal?: AbortSignal) =>
    (await data(
      client.GET('/api/scans/{scan_id}/report', { params: { path: { scan_id } }, ...stop(signal) }),
    )) as unknown as Report,

  limits: () => data(client.GET('/api/limits')),
  startUpload: (body: { patient_id: string; file_name: string; description: string; size: number }) =>
    data(client.POST('/api/uploads', { body })),
  completeUpload: (upload_id: string) =>
    data(client.POST('/api/uploads/{upload_id}/complete', { params: { path: { upload_id } } })),
  dropUpload: (upload_id: string) => data(client.DELETE('/api/uploads/{upload_id}', { params: { path: { upload_id } } })),

  geometry: async (scan_id: string, signal?: AbortSignal) =>
    (await data(
      client.GET('/api/scans/{scan_id}/volume', { params: { path: { scan_id } }, ...stop(signal) }),
    )) as unknown as Geometry,
  block: (scan_id: string, block: number, signal?: AbortSignal): Promise<ArrayBuffer> =>
    data(
      client.GET('/api/scans/{scan_id}/volume/{block}', {
        params: { path: { scan_id, block } },
        parseAs: 'arrayBuffer',
        ...stop(signal),
      }),
    ),
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

const id = encodeURIComponent;

/** Addresses that the browser itself opens: pictures and downloads. */
export const links = {
  heat: (key: string, slice?: number) =>
    `/api/scans/${id(key)}/heatmap.png?lang=${language.current}${slice === undefined ? '' : `&slice=${slice}`}`,
  reportJson: (key: string) => `/api/scans/${id(key)}/report?lang=${language.current}`,
  reportPdf: (key: string) => `/api/scans/${id(key)}/report.pdf?lang=${language.current}`,
  file: (key: string) => `/api/scans/${id(key)}/file`,
  table: (patient?: string) => `/api/reports.xlsx?lang=${language.current}${patient ? `&patient_id=${id(patient)}` : ''}`,
};
