// Is the service there? Every request reports here; while it is away a quiet probe waits for its return.
// The probe asks for something that needs the stores: a service without them is away too.

const PROBE_MS = 2500;

class Service {
  away = $state(false);
  /** grows each time the service comes back: whoever shows data loads again */
  returns = $state(0);
  #timer: ReturnType<typeof setTimeout> | undefined;

  answered(): void {
    if (!this.away) return;
    this.away = false;
    this.returns += 1;
    clearTimeout(this.#timer);
  }

  unreachable(): void {
    if (this.away) return;
    this.away = true;
    this.#timer = setTimeout(() => void this.#probe(), PROBE_MS);
  }

  async #probe(): Promise<void> {
    try {
      const answer = await fetch('/api/patients?limit=1', { cache: 'no-store' });
      if (answer.status < 500) return this.answered();
    } catch {
      // still away: look again later
    }
    if (this.away) this.#timer = setTimeout(() => void this.#probe(), PROBE_MS);
  }
}

export const service = new Service();
