// Every endpoint of the Docker Engine API 1.41: what answers it, or why nothing does.

import type { Route } from './router.ts';
import {
  commitContainer,
  containerChanges,
  exportContainer,
  getArchive,
  putArchive,
  statArchive,
} from './routes/archive.ts';
import { buildRoute } from './routes/build.ts';
import {
  killContainer,
  pauseContainer,
  renameContainer,
  resizeContainer,
  restartContainer,
  startContainer,
  stopContainer,
  topContainer,
  unpauseContainer,
  updateContainer,
  waitContainer,
} from './routes/containers-life.ts';
import {
  createContainer,
  inspectContainer,
  listContainers,
  pruneContainers,
  removeContainer,
} from './routes/containers-list.ts';
import { attachContainer, containerLogs, containerStats } from './routes/containers-stream.ts';
import { createExec, inspectExec, resizeExec, startExec } from './routes/exec.ts';
import { checkLogin, loadImages, pullImage, pushImage, saveImages } from './routes/image-transfer.ts';
import {
  imageHistory,
  inspectImage,
  listImages,
  pruneImages,
  removeImage,
  tagImage,
} from './routes/images.ts';
import {
  connectNetwork,
  createNetwork,
  disconnectNetwork,
  inspectNetwork,
  listNetworks,
  pruneNetworks,
  removeNetwork,
} from './routes/networks.ts';
import { diskUsage, events, info, ping, version } from './routes/system.ts';
import { createVolume, inspectVolume, listVolumes, pruneVolumes, removeVolume } from './routes/volumes.ts';

const SWARM = 'Heptad orchestrates by itself: see heptad apply';
const PLUGINS = 'the engine has no plugins';
const BUILDKIT = 'clients use POST /build with DOCKER_BUILDKIT=0';

const containers: readonly Route[] = [
  {
    method: 'GET',
    path: '/containers/json',
    summary: 'List containers',
    handler: listContainers,
    note: 'sizes are 0',
  },
  {
    method: 'POST',
    path: '/containers/create',
    summary: 'Create a container',
    handler: createContainer,
    note: 'settings that would weaken isolation are refused by name',
  },
  {
    method: 'POST',
    path: '/containers/prune',
    summary: 'Delete stopped containers',
    handler: pruneContainers,
  },
  { method: 'GET', path: '/containers/{id}/json', summary: 'Inspect a container', handler: inspectContainer },
  {
    method: 'GET',
    path: '/containers/{id}/top',
    summary: 'List processes running inside a container',
    handler: topContainer,
    note: 'always the columns of ps -ef',
  },
  { method: 'GET', path: '/containers/{id}/logs', summary: 'Get container logs', handler: containerLogs },
  {
    method: 'GET',
    path: '/containers/{id}/changes',
    summary: 'Get changes on a container’s filesystem',
    handler: containerChanges,
  },
  { method: 'GET', path: '/containers/{id}/export', summary: 'Export a container', handler: exportContainer },
  {
    method: 'GET',
    path: '/containers/{id}/stats',
    summary: 'Get container stats based on resource usage',
    handler: containerStats,
  },
  {
    method: 'POST',
    path: '/containers/{id}/resize',
    summary: 'Resize a container TTY',
    handler: resizeContainer,
  },
  { method: 'POST', path: '/containers/{id}/start', summary: 'Start a container', handler: startContainer },
  { method: 'POST', path: '/containers/{id}/stop', summary: 'Stop a container', handler: stopContainer },
  {
    method: 'POST',
    path: '/containers/{id}/restart',
    summary: 'Restart a container',
    handler: restartContainer,
  },
  { method: 'POST', path: '/containers/{id}/kill', summary: 'Kill a container', handler: killContainer },
  {
    method: 'POST',
    path: '/containers/{id}/update',
    summary: 'Update a container',
    handler: updateContainer,
    note: 'limits; the restart policy is settled at creation',
  },
  {
    method: 'POST',
    path: '/containers/{id}/rename',
    summary: 'Rename a container',
    handler: renameContainer,
  },
  { method: 'POST', path: '/containers/{id}/pause', summary: 'Pause a container', handler: pauseContainer },
  {
    method: 'POST',
    path: '/containers/{id}/unpause',
    summary: 'Unpause a container',
    handler: unpauseContainer,
  },
  {
    method: 'POST',
    path: '/containers/{id}/attach',
    summary: 'Attach to a container',
    handler: attachContainer,
    hijack: true,
  },
  {
    method: 'GET',
    path: '/containers/{id}/attach/ws',
    summary: 'Attach to a container via a websocket',
    note: 'attach by POST with an upgrade to tcp',
  },
  { method: 'POST', path: '/containers/{id}/wait', summary: 'Wait for a container', handler: waitContainer },
  { method: 'DELETE', path: '/containers/{id}', summary: 'Remove a container', handler: removeContainer },
  {
    method: 'HEAD',
    path: '/containers/{id}/archive',
    summary: 'Get information about files in a container',
    handler: statArchive,
  },
  {
    method: 'GET',
    path: '/containers/{id}/archive',
    summary: 'Get an archive of a filesystem resource in a container',
    handler: getArchive,
  },
  {
    method: 'PUT',
    path: '/containers/{id}/archive',
    summary: 'Extract an archive of files or folders to a directory in a container',
    handler: putArchive,
    note: 'tar, gzip and zstd',
  },
  {
    method: 'POST',
    path: '/commit',
    summary: 'Create a new image from a container',
    handler: commitContainer,
    note: 'without Dockerfile instructions',
  },
];

const execs: readonly Route[] = [
  { method: 'POST', path: '/containers/{id}/exec', summary: 'Create an exec instance', handler: createExec },
  {
    method: 'POST',
    path: '/exec/{id}/start',
    summary: 'Start an exec instance',
    handler: startExec,
    hijack: true,
  },
  { method: 'POST', path: '/exec/{id}/resize', summary: 'Resize an exec instance', handler: resizeExec },
  { method: 'GET', path: '/exec/{id}/json', summary: 'Inspect an exec instance', handler: inspectExec },
];

const images: readonly Route[] = [
  {
    method: 'GET',
    path: '/images/json',
    summary: 'List images',
    handler: listImages,
    note: 'named ones; sizes are those of compressed layers',
  },
  {
    method: 'POST',
    path: '/images/create',
    summary: 'Create an image (pull)',
    handler: pullImage,
    note: 'pulls; importing a root file system is 501',
  },
  { method: 'POST', path: '/images/load', summary: 'Import images', handler: loadImages },
  { method: 'GET', path: '/images/get', summary: 'Export several images', handler: saveImages },
  {
    method: 'GET',
    path: '/images/search',
    summary: 'Search images',
    note: 'only Docker Hub has such a search',
  },
  { method: 'POST', path: '/images/prune', summary: 'Delete unused images', handler: pruneImages },
  { method: 'GET', path: '/images/{name...}/json', summary: 'Inspect an image', handler: inspectImage },
  {
    method: 'GET',
    path: '/images/{name...}/history',
    summary: 'Get the history of an image',
    handler: imageHistory,
  },
  { method: 'GET', path: '/images/{name...}/get', summary: 'Export an image', handler: saveImages },
  { method: 'POST', path: '/images/{name...}/push', summary: 'Push an image', handler: pushImage },
  { method: 'POST', path: '/images/{name...}/tag', summary: 'Tag an image', handler: tagImage },
  { method: 'DELETE', path: '/images/{name...}', summary: 'Remove an image', handler: removeImage },
  {
    method: 'POST',
    path: '/build',
    summary: 'Build an image',
    handler: buildRoute,
    note: 'a Dockerfile by buildah, or a Node.js application; without t it is named heptad/build:ID',
  },
  {
    method: 'POST',
    path: '/build/prune',
    summary: 'Delete builder cache',
    note: 'layers of earlier builds are kept',
  },
  {
    method: 'GET',
    path: '/distribution/{name...}/json',
    summary: 'Get image information from the registry',
    note: 'pull the image and inspect it',
  },
];

const networks: readonly Route[] = [
  { method: 'GET', path: '/networks', summary: 'List networks', handler: listNetworks },
  {
    method: 'POST',
    path: '/networks/create',
    summary: 'Create a network',
    handler: createNetwork,
    note: 'driver bridge, IPv4, one subnet',
  },
  { method: 'POST', path: '/networks/prune', summary: 'Delete unused networks', handler: pruneNetworks },
  { method: 'GET', path: '/networks/{id}', summary: 'Inspect a network', handler: inspectNetwork },
  { method: 'DELETE', path: '/networks/{id}', summary: 'Remove a network', handler: removeNetwork },
  {
    method: 'POST',
    path: '/networks/{id}/connect',
    summary: 'Connect a container to a network',
    handler: connectNetwork,
    note: 'without fixed addresses',
  },
  {
    method: 'POST',
    path: '/networks/{id}/disconnect',
    summary: 'Disconnect a container from a network',
    handler: disconnectNetwork,
  },
];

const volumes: readonly Route[] = [
  { method: 'GET', path: '/volumes', summary: 'List volumes', handler: listVolumes },
  {
    method: 'POST',
    path: '/volumes/create',
    summary: 'Create a volume',
    handler: createVolume,
    note: 'driver local, without options',
  },
  { method: 'POST', path: '/volumes/prune', summary: 'Delete unused volumes', handler: pruneVolumes },
  { method: 'GET', path: '/volumes/{name}', summary: 'Inspect a volume', handler: inspectVolume },
  { method: 'DELETE', path: '/volumes/{name}', summary: 'Remove a volume', handler: removeVolume },
];

const system: readonly Route[] = [
  { method: 'POST', path: '/auth', summary: 'Check auth configuration', handler: checkLogin },
  { method: 'GET', path: '/info', summary: 'Get system information', handler: info },
  { method: 'GET', path: '/version', summary: 'Get version', handler: version },
  { method: 'GET', path: '/_ping', summary: 'Ping', handler: ping },
  { method: 'HEAD', path: '/_ping', summary: 'Ping', handler: ping },
  {
    method: 'GET',
    path: '/events',
    summary: 'Monitor events',
    handler: events,
    note: 'the last 256 are kept for since',
  },
  {
    method: 'GET',
    path: '/system/df',
    summary: 'Get data usage information',
    handler: diskUsage,
    note: 'of images; volumes and containers are not measured',
  },
  { method: 'POST', path: '/session', summary: 'Initialize interactive session', note: BUILDKIT },
  { method: 'POST', path: '/grpc', summary: 'Initialize a BuildKit connection', note: BUILDKIT },
];

function unsupported(note: string, list: readonly (readonly [Route['method'], string, string])[]): Route[] {
  return list.map(([method, path, summary]) => ({ method, path, summary, note }));
}

const plugins: readonly Route[] = unsupported(PLUGINS, [
  ['GET', '/plugins', 'List plugins'],
  ['GET', '/plugins/privileges', 'Get plugin privileges'],
  ['POST', '/plugins/pull', 'Install a plugin'],
  ['POST', '/plugins/create', 'Create a plugin'],
  ['GET', '/plugins/{name...}/json', 'Inspect a plugin'],
  ['POST', '/plugins/{name...}/enable', 'Enable a plugin'],
  ['POST', '/plugins/{name...}/disable', 'Disable a plugin'],
  ['POST', '/plugins/{name...}/upgrade', 'Upgrade a plugin'],
  ['POST', '/plugins/{name...}/push', 'Push a plugin'],
  ['POST', '/plugins/{name...}/set', 'Configure a plugin'],
  ['DELETE', '/plugins/{name...}', 'Remove a plugin'],
]);

const swarm: readonly Route[] = unsupported(SWARM, [
  ['GET', '/swarm', 'Inspect swarm'],
  ['POST', '/swarm/init', 'Initialize a new swarm'],
  ['POST', '/swarm/join', 'Join an existing swarm'],
  ['POST', '/swarm/leave', 'Leave a swarm'],
  ['POST', '/swarm/update', 'Update a swarm'],
  ['GET', '/swarm/unlockkey', 'Get the unlock key'],
  ['POST', '/swarm/unlock', 'Unlock a locked manager'],
  ['GET', '/nodes', 'List nodes'],
  ['GET', '/nodes/{id}', 'Inspect a node'],
  ['DELETE', '/nodes/{id}', 'Delete a node'],
  ['POST', '/nodes/{id}/update', 'Update a node'],
  ['GET', '/services', 'List services'],
  ['POST', '/services/create', 'Create a service'],
  ['GET', '/services/{id}', 'Inspect a service'],
  ['DELETE', '/services/{id}', 'Delete a service'],
  ['POST', '/services/{id}/update', 'Update a service'],
  ['GET', '/services/{id}/logs', 'Get service logs'],
  ['GET', '/tasks', 'List tasks'],
  ['GET', '/tasks/{id}', 'Inspect a task'],
  ['GET', '/tasks/{id}/logs', 'Get task logs'],
  ['GET', '/secrets', 'List secrets'],
  ['POST', '/secrets/create', 'Create a secret'],
  ['GET', '/secrets/{id}', 'Inspect a secret'],
  ['DELETE', '/secrets/{id}', 'Delete a secret'],
  ['POST', '/secrets/{id}/update', 'Update a secret'],
  ['GET', '/configs', 'List configs'],
  ['POST', '/configs/create', 'Create a config'],
  ['GET', '/configs/{id}', 'Inspect a config'],
  ['DELETE', '/configs/{id}', 'Delete a config'],
  ['POST', '/configs/{id}/update', 'Update a config'],
]);

/** The table. A path that is fixed comes before one with a parameter in its place. */
export const ROUTES: readonly Route[] = [
  ...containers,
  ...execs,
  ...images,
  ...networks,
  ...volumes,
  ...system,
  ...plugins,
  ...swarm,
];
