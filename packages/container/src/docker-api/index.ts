// The public face of @heptad/container/docker-api: a Docker Engine API in front of an engine.

export type { ServedEngine } from './context.ts';
export type { TlsIdentity } from './listen.ts';
export type { ServedNetworks } from './networks.ts';
export { DockerApiServer, type DockerApiServerOptions } from './server.ts';
export { API_VERSION, MIN_API_VERSION } from './versions.ts';
