/** One NFS server, one client with a mount, and an agent on that mount, inside a guest. */
import { LongshoreClient } from '../../src/client/client.ts';
import { eventually } from '../harness/eventually.ts';
import type { Guest } from './guest.ts';
import type { LaneNumber } from './places.ts';

/** The port of the mount protocol has to be named, since no client of a lane asks the port mapper. */
const version3 = 'nfsvers=3,nolock,proto=tcp,port=2049,mountport=20048,mountproto=tcp';
/** How a client mounts. `chart` are the options of Octopus Deploy's chart. */
export const mountOptions = {
  chart: 'nfsvers=4.1,lookupcache=none,soft,timeo=50,retrans=4',
  'v4.1 hard': 'nfsvers=4.1,lookupcache=none,hard',
  'v3 hard': `${version3},lookupcache=none,hard`,
  'v3 soft': `${version3},lookupcache=none,soft,timeo=30,retrans=2`,
} as const;

export interface LaneKind {
  readonly server: 'knfsd' | 'ganesha';
  readonly mount: keyof typeof mountOptions;
}

/** What lies behind an export: a folder of the disk, or a file system of its own. */
export type VolumeKind = 'disk' | 'tmpfs';

/** A guest starts an agent in seconds where the host takes parts of one, and in minutes where the host is busy. */
const SLOW_MS = 300_000;
/** A look costs the guest time that it needs for itself. */
const LOOK_EVERY_MS = 500;

export class Lane {
  readonly guest: Guest;
  readonly number: LaneNumber;
  readonly kind: LaneKind;
  #volume = '';
  #volumes = 0;
  #client: LongshoreClient | undefined;
  token = '';

  constructor(guest: Guest, number: LaneNumber, kind: LaneKind) {
    this.guest = guest;
    this.number = number;
    this.kind = kind;
  }

  get name(): string {
    return `${this.kind.server}, ${this.kind.mount}`;
  }

  get url(): string {
    return this.guest.agent(this.number).url;
  }

  /** The agent as a server sees it; each call is repeated while the agent says "not now". */
  get client(): LongshoreClient {
    if (this.#client === undefined) throw new Error(`no agent has been started in lane ${this.number}`);
    return this.#client;
  }

  /** Makes server, mount and agent, and returns when the agent is ready. */
  async open(volume: VolumeKind): Promise<void> {
    await this.run('lane_make {}');
    await this.newVolume(volume);
    await this.startServer();
    await this.mount();
    await this.startAgent();
  }

  /** Puts an empty volume behind the export that the next start of the server has. */
  async newVolume(kind: VolumeKind): Promise<void> {
    this.#volumes += 1;
    this.#volume = `${this.number}-${this.#volumes}`;
    await this.run(`volume_make ${this.#volume} ${kind}`);
  }

  async startServer(): Promise<void> {
    await this.run(`server_start {} ${this.kind.server} ${this.#volume}`);
  }

  async mount(): Promise<void> {
    await this.run(`lane_mount {} ${mountOptions[this.kind.mount]}`);
  }

  async startAgent(): Promise<void> {
    // An emulated processor starts a runner in seconds, and in a minute where it has others to run.
    await this.run(`agent_start {} --launch-timeout-ms ${SLOW_MS}`);
    await eventually(() => this.isReady(), SLOW_MS, LOOK_EVERY_MS).catch(async (error: unknown) => {
      throw new Error(
        `no agent in lane ${this.number}:\n${await this.run('tail -n 40 /lanes/{}/agent.log')}`,
        {
          cause: error,
        },
      );
    });
    const token = /^default:(\S+)$/m.exec(await this.run('cat /lanes/{}/state/tokens'))?.[1];
    if (token === undefined) throw new Error(`the agent of lane ${this.number} has made no token`);
    this.token = token;
    this.#client = new LongshoreClient({ url: this.url, token, timeoutMs: SLOW_MS, retryForMs: 600_000 });
  }

  /** Does what a cluster does with a pod whose mount is bound to a server that is no more: a new mount, and a new agent. */
  async replaceAgent(): Promise<void> {
    this.#client?.close();
    await this.run('agent_kill {}; umount --lazy /mnt/{}');
    await this.mount();
    await this.startAgent();
  }

  async isReady(): Promise<boolean> {
    const answer = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(5000) }).catch(
      () => undefined,
    );
    return answer?.status === 200;
  }

  /** Runs lines of bash in the guest, with the number of this lane for each `{}`. */
  run(script: string, deadlineMs = SLOW_MS): Promise<string> {
    return this.guest.run(script.replaceAll('{}', String(this.number)), deadlineMs);
  }

  /** Waits until a script has written `text`. */
  async runsOn(ticket: string, text: string): Promise<void> {
    await eventually(
      async () => {
        const { journal } = await this.client.status(ticket, { waitSeconds: 1 });
        return journal.lines.some((line) => line.text.includes(text));
      },
      SLOW_MS,
      LOOK_EVERY_MS,
    );
  }

  close(): void {
    this.#client?.close();
  }
}
