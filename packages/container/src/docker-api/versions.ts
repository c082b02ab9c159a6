// The versions of the Docker Engine API that are spoken here.

/** The newest one: that of Docker 20.10. Newer clients step down to it. */
export const API_VERSION: string = '1.41';
/** The oldest one accepted: that of Docker 1.12, as in Docker 25. */
export const MIN_API_VERSION: string = '1.24';
