/** What TLS needs to know the server, and to be known by it. */
export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

/** How to speak to an API server, at this moment. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsMaterial;
}

/** Where an API server is, and where the credentials for it come from. */
export interface CredentialSource {
  readonly server: URL;
  readonly namespace: string | undefined;
  /** Reads them from where they lie. */
  load(): Promise<Credentials>;
  /** What was read before is not accepted any more: nothing of it may be kept. */
  forget(): void;
}

/** A kubelet writes a new token when a fifth of the old one's life is left, which is minutes at least. */
const MAX_AGE_MS = 60_000;

/** Keeps credentials for a minute, and shares one reading among those who ask at once. */
export class CredentialCache {
  readonly #source: CredentialSource;
  #read: Promise<Credentials> | undefined;
  #readAt = 0;

  constructor(source: CredentialSource) {
    this.#source = source;
  }

  /** Returns credentials that are at most a minute old. */
  async current(): Promise<Credentials> {
    if (this.#read === undefined || performance.now() - this.#readAt > MAX_AGE_MS) {
      this.#readAt = performance.now();
      const read = this.#source.load();
      this.#read = read;
      // Whoever asks next tries again.
      read.catch(() => this.#read === read && (this.#read = undefined));
    }
    return this.#read;
  }

  /** They were not accepted, or the server was not: both may have been exchanged. */
  renew(): void {
    this.#read = undefined;
    this.#source.forget();
  }
}
