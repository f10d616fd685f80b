import type { Sha256 } from './digest.ts';
import type { PackageId, PackageVersion } from './package-name.ts';
import type { RelativePath } from './relative-path.ts';
import type { ScriptKey } from './ticket.ts';

/** The version of the layout, part of every path, so that a later layout never misreads this one. */
export const LAYOUT_FOLDER = 'longshore-v1';

/**
 * Every path of the volume, and the only code that joins them.
 *
 *   <root>/doctor-<random>/          what `longshore doctor` tries, while it does
 *   <root>/longshore-v1/
 *     identity/epoch                 the volume id, written once
 *     blobs/sha256/ab/<hex>          immutable, 0444
 *     packages/<id>/<version>        pointer to a blob
 *     uploads/<id>                   bytes that have arrived so far
 *     work/.staging-<random>/        a workspace while it is made, not yet anybody's
 *     work/<key>/                    manifest.json, script, files/, packages/, out/
 *     tickets/<key>/                 asked.json, cancel, outcome, tombstone, lines/
 *     isolation/<name>/<number>      the line in front of an isolation name, and <key>.mark
 *     locks/<name>                   advisory, correctness never rests on them
 *     canary/                        write probes, and ballast for the day when the volume is full
 */
export class VolumeLayout {
  /** Where the volume is mounted: there whatever the volume holds. */
  readonly mountFolder: string;
  readonly root: string;

  /** `volumeFolder` is the absolute path under which the volume is mounted. */
  constructor(volumeFolder: string) {
    this.mountFolder = volumeFolder.replace(/\/+$/, '');
    this.root = `${this.mountFolder}/${LAYOUT_FOLDER}`;
  }

  /** Where a doctor tries the volume, beside all that is the agent's; `random` is 16 hex digits. */
  doctorFolder(random: string): string {
    return `${this.mountFolder}/${DOCTOR_PREFIX}${random}`;
  }

  get identity(): string {
    return `${this.root}/identity`;
  }
  get epoch(): string {
    return `${this.identity}/epoch`;
  }

  /** `identity/` while it is made; `random` is 16 hex digits. */
  temporaryIdentity(random: string): { folder: string; epoch: string } {
    const folder = `${this.identity}${TEMPORARY_MARK}${random}`;
    return { folder, epoch: `${folder}/epoch` };
  }

  get blobs(): string {
    return `${this.root}/blobs/sha256`;
  }
  blobFolder(digest: Sha256): string {
    return `${this.blobs}/${digest.slice(0, 2)}`;
  }
  blob(digest: Sha256): string {
    return `${this.blobFolder(digest)}/${digest}`;
  }

  get packages(): string {
    return `${this.root}/packages`;
  }
  packageFolder(id: PackageId): string {
    return `${this.packages}/${id}`;
  }
  package(id: PackageId, version: PackageVersion): string {
    return `${this.packageFolder(id)}/${version}`;
  }

  get uploads(): string {
    return `${this.root}/uploads`;
  }
  upload(name: string): string {
    return `${this.uploads}/${name}`;
  }

  get work(): string {
    return `${this.root}/work`;
  }
  staging(name: string): WorkspaceLayout {
    return new WorkspaceLayout(`${this.work}/${STAGING_PREFIX}${name}`);
  }
  workspace(key: ScriptKey): WorkspaceLayout {
    return new WorkspaceLayout(`${this.work}/${key}`);
  }

  get tickets(): string {
    return `${this.root}/tickets`;
  }
  ticket(key: ScriptKey): TicketLayout {
    return new TicketLayout(`${this.tickets}/${key}`);
  }
  /** A record while it is made; `name` is unique and no script key. */
  temporaryTicket(name: string): TicketLayout {
    return new TicketLayout(`${this.tickets}/${name}`);
  }

  get isolation(): string {
    return `${this.root}/isolation`;
  }
  isolationLine(folderName: string): IsolationLayout {
    return new IsolationLayout(`${this.isolation}/${folderName}`);
  }

  get locks(): string {
    return `${this.root}/locks`;
  }
  lock(name: string): string {
    return `${this.locks}/${name}`;
  }

  get canary(): string {
    return `${this.root}/canary`;
  }
  /** What one agent writes again and again, to see whether the volume takes bytes; `agent` is a random name of its own. */
  canaryFile(agent: string): string {
    return `${this.canary}/${CANARY_PREFIX}${agent}`;
  }
  /** Bytes to throw away when the volume is full. */
  get ballast(): string {
    return `${this.canary}/ballast`;
  }

  /** The folders that the agent makes at its start, parents first. */
  get folders(): readonly string[] {
    const { root, identity, blobs, packages, uploads, work, tickets, isolation, locks, canary } = this;
    return [
      root,
      identity,
      `${root}/blobs`,
      blobs,
      packages,
      uploads,
      work,
      tickets,
      isolation,
      locks,
      canary,
    ];
  }
}

/**
 * Names of files and folders that are still being made carry it before 16 random hex digits. No name of a package,
 * version, ticket or blob has a tilde, so that none of them is ever taken for a temporary one.
 */
export const TEMPORARY_MARK = '~tmp-';

/** Names of the files that agents write as canaries begin so. */
export const CANARY_PREFIX = 'probe-';

const DOCTOR_PREFIX = 'doctor-';

/** Tells whether an entry of the volume's root is a folder that a doctor made. */
export function isDoctorFolder(name: string): boolean {
  return name.startsWith(DOCTOR_PREFIX) && /^[0-9a-f]{16}$/.test(name.slice(DOCTOR_PREFIX.length));
}

/** Names of workspaces that are still being made begin so; a script key never does. */
export const STAGING_PREFIX = '.staging-';

/** The places of one workspace; the runner sees the same ones under the same or another root. */
export class WorkspaceLayout {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  get manifest(): string {
    return `${this.root}/manifest.json`;
  }
  get script(): string {
    return `${this.root}/script`;
  }
  get files(): string {
    return `${this.root}/files`;
  }
  get packages(): string {
    return `${this.root}/packages`;
  }
  get out(): string {
    return `${this.root}/out`;
  }
  /** Made by the runner, or by an agent that wants the script never to start, whoever comes first. */
  get started(): string {
    return `${this.out}/started`;
  }
  get journal(): string {
    return `${this.out}/journal`;
  }
  get result(): string {
    return `${this.out}/result.json`;
  }
  get artifacts(): string {
    return `${this.out}/artifacts`;
  }
  /** The place of a manifest entry (`files/conf/app.json`, `packages/web.1.0.zip`, `script`). */
  entry(path: RelativePath): string {
    return `${this.root}/${path}`;
  }
  artifact(path: RelativePath): string {
    return `${this.artifacts}/${path}`;
  }
}

/** The places of one ticket's record. */
export class TicketLayout {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** What was asked; written with the folder, never changed. */
  get asked(): string {
    return `${this.root}/asked.json`;
  }
  get cancel(): string {
    return `${this.root}/cancel`;
  }
  get outcome(): string {
    return `${this.root}/outcome`;
  }
  get tombstone(): string {
    return `${this.root}/tombstone`;
  }
  /** The agent's own lines about the script, one file a line, named by its number. */
  get lines(): string {
    return `${this.root}/lines`;
  }
  line(number: number): string {
    return `${this.lines}/${String(number).padStart(8, '0')}`;
  }
}

/** The places of one isolation line. */
export class IsolationLayout {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  place(number: number): string {
    return `${this.root}/${placeName(number)}`;
  }
  /** Which of the places of a script counts. */
  mark(key: ScriptKey): string {
    return `${this.root}/${key}.mark`;
  }
}

/** The file name of a place in a line; names sort as numbers do. */
export function placeName(number: number): string {
  return String(number).padStart(12, '0');
}
