// What the page knows of the platform: shared by all sections through one context.

import { createContext, useContext } from 'react';
import type { ApiClient } from '../api/client.ts';
import type { Session } from '../api/types.ts';

/** What sections need beside their own data. */
export interface Platform {
  readonly client: ApiClient;
  readonly session: Session;
  /** Whether the user may change services: others see the buttons disabled, with the reason. */
  readonly mayOperate: boolean;
  /** Says something for a few seconds, to eyes and screen readers. */
  announce(message: string): void;
}

export const PlatformContext = createContext<Platform | undefined>(undefined);

/** The platform of this page. */
export function usePlatform(): Platform {
  const platform = useContext(PlatformContext);
  if (platform === undefined) throw new Error('usePlatform outside of its provider');
  return platform;
}
