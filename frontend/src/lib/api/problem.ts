// What can go wrong between the page and the service, as two errors.

/** A request that the service answered with a problem document (RFC 9457). */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';

  constructor(
    readonly status: number,
    readonly code: string,
    /** words for the user, already in the page's language */
    readonly words: string,
    readonly requestId: string,
    /** messages by field name, for forms */
    readonly fields: Readonly<Record<string, string>> = {},
  ) {
    super(`${status} ${code}: ${words}`);
  }
}

/** No answer at all, or a gateway that says the service is away: worth trying again later. */
export class ServiceAway extends Error {
  override readonly name = 'ServiceAway';
}

const AWAY: readonly number[] = [502, 503, 504];

/** The error for an answer that is not a success. An analysis that takes long is no outage. */
export function problemOf(status: number, body: unknown): ApiProblem | ServiceAway {
  const seen = record(body);
  if (AWAY.includes(status) && seen['code'] !== 'analysis_timeout') return new ServiceAway(`HTTP ${status}`);
  const words = text(seen['detail']) || text(seen['title']) || `HTTP ${status}`;
  return new ApiProblem(status, text(seen['code']), words, text(seen['request_id']), fieldsOf(seen['errors']));
}

function fieldsOf(errors: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(record(errors)).map(([field, words]) => [field, String(words)]));
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
