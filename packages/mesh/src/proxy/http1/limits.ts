// Limits of the HTTP/1.1 engine, each with its reason.

/** Request line and headers together; nginx and HAProxy allow 8 to 32 KiB. Larger ones are refused with 431. */
export const MAX_HEAD_BYTES: number = 32 * 1024;
/** Header fields in one message (Apache's default); more are refused with 431. */
export const MAX_HEADERS: number = 100;
/** A chunk-size line: 13 hexadecimal digits are 4 PiB, more than anybody sends and less than a double can count. */
export const MAX_CHUNK_SIZE_DIGITS: number = 13;
/** Trailer fields of one message. */
export const MAX_TRAILER_BYTES: number = 8 * 1024;
/** Bytes of further (pipelined) requests read ahead of the one being served. */
export const MAX_PIPELINED_BYTES: number = 64 * 1024;
/** Request body kept for a second attempt; larger bodies are not retried (linkerd2-proxy). */
export const MAX_REPLAY_BYTES: number = 64 * 1024;
