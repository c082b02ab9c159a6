// The port for message protocols between nodes; HTTP servers use Node's own modules behind it.

/** One ordered, reliable byte stream in datagram-sized pieces: what a protocol under simulation may rely on. */
export interface Connection extends AsyncDisposable {
  readonly remote: string;
  /** Resolves when handed to the network, which is not delivery. Rejects once the connection is broken. */
  send(message: Uint8Array): Promise<void>;
  /** Messages in the order sent, each once; ends when the other side closes, throws when the connection breaks. */
  receive(): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** A listening address. */
export interface Listener extends AsyncDisposable {
  readonly address: string;
  close(): Promise<void>;
}

/** Dials and listens. Addresses are `host:port`. */
export interface Network {
  dial(address: string, signal?: AbortSignal): Promise<Connection>;
  listen(address: string, handler: (connection: Connection) => void): Promise<Listener>;
}
