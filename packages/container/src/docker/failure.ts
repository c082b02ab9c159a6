// What a Docker Engine's refusals mean: sentences and status codes become this package's coded errors.

import { ContainerError, type ContainerErrorCode, errnoOf } from '../errors.ts';

interface Meaning {
  readonly status?: number;
  readonly text: RegExp;
  readonly code: ContainerErrorCode;
  readonly hint?: string;
  readonly retryable?: boolean;
}

// In order: the first that fits. The texts are the engine's own (moby, 20.10 to 29); a status alone is too coarse, since
// the engine answers 500 for a busy port and 404 for a missing image of a container that is asked for.
const MEANINGS: readonly Meaning[] = [
  {
    text: /no space left on device|disk quota exceeded/i,
    code: 'NO_SPACE',
    hint: 'free space in Docker’s data directory: `docker system df` shows what takes it',
    retryable: true,
  },
  {
    text: /read-only file system/i,
    code: 'READ_ONLY',
    hint: 'the file system is read-only; remount or replace it',
  },
  {
    text: /no such image|(manifest|image|reference).*(unknown|not found)|pull access denied|repository .* not found/i,
    code: 'IMAGE_NOT_FOUND',
    hint: 'load it (DockerRuntime.load) or pull it (DockerRuntime.pull) first',
  },
  { text: /cannot overwrite (non-)?directory/i, code: 'INVALID_ARGUMENT' },
  { text: /is outside of|invalid hardlink|invalid symlink|breakout/i, code: 'UNSAFE_ARCHIVE' },
  { text: /not a directory|extraction point is not a directory/i, code: 'PATH_NOT_FOUND' },
  { text: /no such container|no such exec/i, code: 'CONTAINER_NOT_FOUND' },
  {
    text: /container name .* is already in use|already in use by container/i,
    code: 'NAME_IN_USE',
    hint: 'remove that container or choose another name',
  },
  {
    text: /port is already allocated|address already in use|ports are not available/i,
    code: 'PORT_IN_USE',
    hint: 'stop what listens there, or publish another host port',
  },
  {
    text: /network .* not found|no such network/i,
    code: 'NETWORK_NOT_FOUND',
    hint: 'docker network ls shows them',
  },
  { text: /no such volume/i, code: 'PATH_NOT_FOUND' },
  {
    text: /bind source path does not exist|could not find the file|no such (file or directory|directory|path)/i,
    code: 'PATH_NOT_FOUND',
  },
  { text: /is outside of "|invalid (hard|sym)link/i, code: 'UNSAFE_ARCHIVE' },
  {
    text: /cannot overwrite (non-)?directory/i,
    code: 'INVALID_ARGUMENT',
    hint: 'remove it in the container first',
  },
  { text: /not a directory/i, code: 'PATH_NOT_FOUND' },
  { text: /invalid reference format|repository name must be/i, code: 'INVALID_REFERENCE' },
  { status: 400, text: /./s, code: 'INVALID_ARGUMENT' },
  { status: 401, text: /./s, code: 'UNAUTHENTICATED', hint: 'give credentials for this registry' },
  { status: 403, text: /./s, code: 'ACCESS_DENIED' },
  { status: 501, text: /./s, code: 'NOT_SUPPORTED' },
  { status: 503, text: /./s, code: 'RUNTIME_UNAVAILABLE', retryable: true },
];

/** The error for an answer with a bad status. `text` is the body: JSON with a message, or plain text. */
export function responseError(status: number, text: string, doing: string): ContainerError {
  return engineError(messageIn(text) || `status ${status}`, doing, status);
}

/** The error for something the engine said, in a response or inside a stream. */
export function engineError(message: string, doing: string, status?: number): ContainerError {
  const meaning = MEANINGS.find(
    (each) => (each.status === undefined || each.status === status) && each.text.test(message),
  );
  return new ContainerError(meaning?.code ?? 'RUNTIME_FAILED', `cannot ${doing}: Docker says: ${message}`, {
    ...(meaning?.hint === undefined ? {} : { hint: meaning.hint }),
    ...(meaning?.retryable === undefined ? {} : { retryable: meaning.retryable }),
    details: { ...(status === undefined ? {} : { status }), message },
  });
}

function messageIn(text: string): string {
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null && 'message' in json) return String(json.message).trim();
  } catch {
    // Plain text, as proxies and very old engines send it.
  }
  return text.trim();
}

/** The error for a connection that could not be made, or was cut before an answer. */
export function connectionError(
  error: Error,
  socketPath: string,
  request: { readonly doing: string; readonly signal?: AbortSignal },
): unknown {
  if (request.signal?.aborted === true) return request.signal.reason;
  const errno = errnoOf(error);
  const why = (reason: string, hint: string, retryable = false): ContainerError =>
    new ContainerError('RUNTIME_UNAVAILABLE', `cannot ${request.doing}: ${reason}`, {
      cause: error,
      hint,
      retryable,
      details: { socketPath, ...(errno === undefined ? {} : { errno }) },
    });
  if (errno === 'ENOENT') {
    return why(
      `there is no socket ${socketPath}`,
      'install and start Docker, or give the path of its socket (socketPath)',
    );
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    return why(
      `this user may not use the socket ${socketPath}`,
      'run as root or as a member of the socket’s group, usually "docker"',
    );
  }
  if (errno === 'ECONNREFUSED') {
    return why(`nobody listens on the socket ${socketPath}`, 'start Docker: its daemon is not running', true);
  }
  if (errno === 'ENOTSOCK') return why(`${socketPath} is not a socket`, 'give the path of Docker’s socket');
  // The request may have been carried out: never marked retryable.
  return why(
    `the connection to ${socketPath} broke before an answer came (${error.message})`,
    'look at the log of the Docker daemon; whether the request was carried out is not known',
  );
}
