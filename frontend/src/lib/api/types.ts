// The service's documents as the page uses them: names for the generated types, and by hand only what the
// OpenAPI document leaves open (report, passport, geometry).
import type { components } from './schema';

type Schemas = components['schemas'];

export type Patient = Schemas['PatientOut'];
export type PatientFields = Schemas['PatientIn'];
export type Scan = Schemas['ScanOut'];
export type ScanDetail = Omit<Schemas['ScanDetail'], 'passport'> & { passport: Passport | null };
export type StudyChoice = Schemas['StudyChoice'];
export type Upload = Schemas['UploadOut'];
export type Limits = Schemas['LimitsOut'];
export type Job = Schemas['JobOut'];
export type ScanState = Scan['state'];
export type Verdict = NonNullable<Scan['verdict']>;

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
