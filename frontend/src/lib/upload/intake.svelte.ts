// What has been dropped or chosen and waits in the upload dialog.
import type { Patient } from '../api/types';
import type { Picked } from './split';

class Intake {
  open = $state(false);
  /** set where the page says whose studies these are */
  patient = $state.raw<Patient | undefined>();
  picked = $state.raw<readonly Picked[]>([]);
  /** the patient page that is open, if one is: a drop anywhere on it means that patient */
  here = $state.raw<Patient | undefined>();

  show(picked: readonly Picked[] = []): void {
    this.patient = this.here;
    this.picked = picked;
    this.open = true;
  }

  add(picked: readonly Picked[]): void {
    this.picked = [...this.picked, ...picked];
  }

  close(): void {
    this.open = false;
    this.picked = [];
  }
}

export const intake = new Intake();
