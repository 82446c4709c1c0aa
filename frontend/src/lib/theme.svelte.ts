// Dark reading room or light: one attribute on <html>, colours in app.css.
import { remember, remembered } from './remember';

export type Theme = 'dark' | 'light';
export const THEMES: readonly Theme[] = ['dark', 'light'];

class ThemeChoice {
  current = $state<Theme>(remembered('ct.theme', THEMES, 'dark'));

  set(theme: Theme): void {
    this.current = theme;
    remember('ct.theme', theme);
    document.documentElement.dataset['theme'] = theme;
  }
}

export const theme = new ThemeChoice();
