// The library face of the platform.

export { ApiClient, type ApiClientOptions } from './client/api-client.ts';
export { configFromEnvironment, type PlatformConfig } from './config.ts';
export {
  type DeployMicroserviceOptions,
  MicroservicePlatform,
  type MicroservicePlatformOptions,
} from './microservice-platform.ts';
export { type FirstAdmin, LocalPlatform, takeFirstAdmin } from './platform.ts';
export { type RunServerOptions, runServer as createServer } from './server/run-server.ts';
