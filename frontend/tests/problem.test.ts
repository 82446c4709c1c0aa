// What an error answer becomes.
import { describe, expect, it } from 'vitest';
import { ApiProblem, problemOf, ServiceAway } from '../src/lib/api/problem';

describe('problemOf', () => {
  it('keeps the words, the code, the request id and the messages by field', () => {
    const problem = problemOf(422, {
      detail: 'Некоторые поля заполнены неверно',
      code: 'invalid_fields',
      request_id: 'r1',
      errors: { last_name: 'пусто' },
    });
    expect(problem).toBeInstanceOf(ApiProblem);
    expect(problem).toMatchObject({
      status: 422,
      code: 'invalid_fields',
      words: 'Некоторые поля заполнены неверно',
      requestId: 'r1',
      fields: { last_name: 'пусто' },
    });
  });
  it('takes gateway errors and lost stores for a service that is away', () => {
    expect(problemOf(502, null)).toBeInstanceOf(ServiceAway);
    expect(problemOf(503, { code: 'store_unavailable' })).toBeInstanceOf(ServiceAway);
    expect(problemOf(504, { code: 'analysis_timeout', detail: 'Анализ ещё идёт' })).toBeInstanceOf(ApiProblem);
  });
  it('survives an answer that is no problem document', () => {
    expect(problemOf(500, '<html>')).toMatchObject({ words: 'HTTP 500', code: '', requestId: '' });
  });
});
