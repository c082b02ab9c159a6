// Light, dark, or as the system says; remembered in this browser.

import { useEffect, useState } from 'react';

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];
const STORAGE_KEY = 'heptad.theme';

/** The theme, a way to change it, and a number that changes with every repaint of colours (for the charts). */
export function useTheme(): { theme: Theme; setTheme: (theme: Theme) => void; paint: number } {
  const [theme, setTheme] = useState<Theme>(
    () => THEMES.find((one) => one === localStorage.getItem(STORAGE_KEY)) ?? 'auto',
  );
  const [paint, setPaint] = useState(0);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(STORAGE_KEY, theme);
    setPaint((count) => count + 1);
    const system = matchMedia('(prefers-color-scheme: dark)');
    const repaint = (): void => setPaint((count) => count + 1);
    system.addEventListener('change', repaint);
    return () => system.removeEventListener('change', repaint);
  }, [theme]);
  return { theme, setTheme, paint };
}
