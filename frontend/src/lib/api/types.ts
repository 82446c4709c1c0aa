// The service's documents as the page uses them.
export type Verdict = 'normal' | 'pathology' | 'no_result';
export type ScanState =
  | 'uploaded'
  | 'preparing'
  | 'needs_choice'
  | 'ready'
  | 'queued'
  | 'analysing'
  | 'done'
  | 'refused'
  | 'failed';
export const VERDICTS: readonly Verdict[] = ['pathology', 'no_result', 'normal'];
export const STATES: readonly ScanState[] = [
  'uploaded',
  'preparing',
  'needs_choice',
  'ready',
  'queued',
  'analysing',
  'done',
  'refused',
  'failed',
];

export interface Page<T> {
  items: T[];
  total: number;
  limit: number;
  offset: number;
}

export interface PatientFields {
  first_name: string;
  last_name: string;
  description: string;
  birth_date: string | null;
  sex: 'M' | 'F' | 'O' | null;
  external_id: string | null;
}

export interface Patient extends PatientFields {
  id: string;
  created_at: string;
  updated_at: string;
  scan_count: number;
  last_verdict: Verdict | null;
}

export interface StudyChoice {
  study_uid: string;
  study_date: string;
  n_series: number;
  n_instances: number;
  description: string;
}

export interface Notice {
  code: string;
  text: string;
}

export interface SeriesRow {
  series_uid: string;
  description: string;
  modality: string;
  n_instances: number;
  orientation: string;
  spacing_z_mm: number | null;
  thickness_mm: number | null;
  kernel: string;
  chosen: boolean;
  reason: string;
}

export interface Passport {
  study_uid: string;
  series_uid: string;
  study_date: string;
  source_kind: 'dicom' | 'nifti';
  series: SeriesRow[];
  n_slices: number;
  spacing_z_mm: number | null;
  gaps: { below_mm: number; above_mm: number; missing: number }[];
  transfer_syntax: string;
  lossy: boolean;
  kernel: string;
  manufacturer: string;
  scanner_model: string;
  volume: { shape: number[]; spacing_mm: number[] } | null;
  coverage: { lungs_found: 'both' | 'left' | 'right' | 'none'; lung_ml: number } | null;
  warnings: Notice[];
}

export interface Scan {
  id: string;
  patient_id: string | null;
  description: string;
  file_name: string;
  created_at: string;
  updated_at: string;
  size: number;
  sha256: string;
  state: ScanState;
  stage: string;
  progress: number;
  study_uid: string;
  series_uid: string;
  verdict: Verdict | null;
  probability_of_pathology: number | null;
  reason_code: string | null;
  /** why there is no result and what to do, in words */
  reason: string | null;
  choices: StudyChoice[];
  volume_ready: boolean;
  analysis_id: string | null;
}

export interface ScanDetail extends Scan {
  passport: Passport | null;
}

export interface Finding {
  box_voxel: number[];
  volume_ml: number;
  side: 'left' | 'right' | 'middle';
  share: number;
  peak_slice: number;
  /** look and place in words, in the report's language */
  text: string;
}

export interface Report {
  probability_of_pathology: number | null;
  time_of_processing: number;
  verdict: Verdict;
  reason_code: string | null;
  reason: string | null;
  threshold: number | null;
  model: { name: string; version: string; sha256: string };
  decisive_slice: { index: number; z_mm: number; share: number } | null;
  findings: Finding[];
  passport: Passport;
  warnings: Notice[];
  created_at: string;
  disclaimer: string;
}

export interface Geometry {
  shape: [number, number, number];
  spacing_mm: [number, number, number];
  affine_lps: number[][];
  block_depth: number;
  blocks: number;
  order: number[];
}

export interface Job {
  id: string;
  scan_id: string;
  state: 'queued' | 'running' | 'done' | 'failed' | 'cancelled';
  stage: string;
  progress: number;
}

export interface Upload {
  id: string;
  part_size: number;
  parts: { number: number; url: string }[];
}

export interface Limits {
  formats: string[];
  max_upload_bytes: number;
  max_entries: number;
}
