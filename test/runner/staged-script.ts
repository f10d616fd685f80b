import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseEndRecord, type EndRecord } from '../../src/protocol/end-record.ts';
import { parseSha256, sha256Of } from '../../src/protocol/digest.ts';
import { openFrame, parseFrameHead, type JournalFrame } from '../../src/protocol/journal-frame.ts';
import { decodeSegments, piecesOf, type JournalPiece } from '../../src/protocol/journal-segment.ts';
import { serializeManifest } from '../../src/protocol/manifest.ts';
import { parseRelativePath } from '../../src/protocol/relative-path.ts';
import type { RunOrder } from '../../src/protocol/run-order.ts';
import { parseTicket, scriptKeyFor } from '../../src/protocol/ticket.ts';
import { VolumeLayout, type WorkspaceLayout } from '../../src/protocol/volume-layout.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { limits } from '../protocol/made-evidence.ts';

type Teardown = { teardown: (work: () => void) => void };

/** The program as it is delivered; made here where only the sources are. */
export function runnerProgram(): string {
  const program = resolve('.build/runner.cjs');
  if (!existsSync(program)) {
    const options = [
      '--bundle',
      '--platform=node',
      '--format=cjs',
      '--target=node24',
      `--outfile=${program}`,
    ];
    execFileSync('node_modules/.bin/esbuild', ['src/runner/main.ts', '--log-level=warning', ...options]);
  }
  return program;
}

export interface StagedScript {
  readonly folder: string;
  readonly order: RunOrder;
  readonly places: WorkspaceLayout;
  readonly key: Buffer;
}

/** Lays out a volume with one workspace, as an agent does, and the order for it. */
export function stageScript(
  t: Teardown,
  script: string,
  changes: Partial<RunOrder> = {},
  files: Readonly<Record<string, string>> = {},
): StagedScript {
  return stageScriptIn(temporaryFolder(t, 'longshore-runner'), script, changes, files);
}

/** The same in a folder that is there. */
export function stageScriptIn(
  folder: string,
  script: string,
  changes: Partial<RunOrder> = {},
  files: Readonly<Record<string, string>> = {},
): StagedScript {
  const layout = new VolumeLayout(folder);
  const ticket = must(parseTicket(`t-${randomBytes(4).toString('hex')}`));
  const key = scriptKeyFor('test', ticket);
  const places = layout.workspace(key);
  for (const place of [layout.identity, places.files, places.packages, places.artifacts]) {
    mkdirSync(place, { recursive: true });
  }
  writeFileSync(layout.epoch, 'epoch-1\n');
  const entries = Object.entries({ script, ...files }).map(([path, text]) => {
    mkdirSync(dirname(`${places.root}/${path}`), { recursive: true });
    writeFileSync(`${places.root}/${path}`, text);
    return { path: must(parseRelativePath(path)), size: Buffer.byteLength(text), sha256: sha256Of(text) };
  });
  const manifest = serializeManifest({ version: 1, key, entries });
  writeFileSync(places.manifest, manifest);
  const journalKey = randomBytes(32);
  const order: RunOrder = {
    version: 1,
    key,
    ticket,
    journalKey: journalKey.toString('base64'),
    cookie: randomBytes(16).toString('hex'),
    workspace: places.root,
    epochFile: layout.epoch,
    epoch: 'epoch-1',
    manifestDigest: sha256Of(manifest),
    language: 'bash',
    arguments: [],
    variables: [],
    deadlineMs: null,
    graceMs: 2000,
    drainMs: 1000,
    journalMaxBytes: 1024 * 1024 * 1024,
    volumeDeadlineMs: 5000,
    mountFolder: layout.mountFolder,
    mount: limits,
    copy: null,
    ...changes,
  };
  return { folder, order, places, key: journalKey };
}

/** A runner in a process of its own, its stdout in a file, as under an agent. */
export interface RunnerProcess {
  readonly child: ChildProcess;
  readonly stdoutFile: string;
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
}

export function startRunner(
  staged: StagedScript,
  options: { environment?: NodeJS.ProcessEnv; node?: readonly string[]; input?: string } = {},
): RunnerProcess {
  const stdoutFile = `${staged.folder}/stdout-${randomBytes(4).toString('hex')}`;
  const fd = openSync(stdoutFile, 'ax');
  const child = spawn(process.execPath, [...(options.node ?? []), runnerProgram()], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', fd, fd],
    env: options.environment ?? process.env,
  });
  closeSync(fd);
  const ended = new Promise<{ code: number | null; signal: string | null }>((settle) => {
    child.on('exit', (code, signal) => settle({ code, signal }));
  });
  child.stdin?.end(options.input ?? JSON.stringify(staged.order));
  return { child, stdoutFile, ended };
}

/** What a witness holds: its authentic frames, and the lines that are none. */
export interface Decoded {
  readonly frames: readonly JournalFrame[];
  readonly pieces: readonly JournalPiece[];
  readonly strays: readonly string[];
  readonly end: EndRecord | undefined;
  /** Digest of the payloads before the end frame. */
  readonly digest: string;
}

export function decode(bytes: Buffer, key: Buffer): Decoded {
  const frames: JournalFrame[] = [];
  const strays: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const newline = bytes.indexOf(0x0a, at);
    const line = bytes.toString('latin1', at, newline < 0 ? bytes.length : newline);
    const head = parseFrameHead(line);
    const frame = head && openFrame(key, head);
    if (frame) frames.push(frame);
    else strays.push(line);
    at = newline < 0 ? bytes.length : newline + 1;
  }
  const pieces = frames.flatMap(({ first, payload }) => [...piecesOf(must(decodeSegments(payload)), first)]);
  const last = pieces.at(-1);
  const hash = createHash('sha256');
  frames.slice(0, last?.kind === 'end' ? -1 : undefined).forEach(({ payload }) => hash.update(payload));
  const end = last?.kind === 'end' ? parseEndRecord(last.bytes.toString('utf8')) : undefined;
  return { frames, pieces, strays, end, digest: must(parseSha256(hash.digest('hex'))) };
}

export function decodeFile(path: string, key: Buffer): Decoded {
  return decode(readFileSync(path), key);
}

/** The bytes that a script wrote to a stream, put together again. */
export function streamOf({ pieces }: Decoded, kind: JournalPiece['kind']): Buffer {
  const newline = Buffer.from('\n');
  return Buffer.concat(
    pieces
      .filter((piece) => piece.kind === kind)
      .flatMap(({ bytes, partial }) => [bytes, partial ? Buffer.alloc(0) : newline]),
  );
}

/** Runs a script to its end, and checks what holds for every run that ends with a record. */
export async function runToEnd(
  t: Teardown & { same: (found: unknown, wanted: unknown, says: string) => boolean },
  staged: StagedScript,
  options: Parameters<typeof startRunner>[1] & { meanwhile?: (runner: RunnerProcess) => Promise<void> } = {},
): Promise<{ end: EndRecord; stdout: Decoded; volume: Decoded; runner: RunnerProcess }> {
  const runner = startRunner(staged, options);
  await options.meanwhile?.(runner);
  const { code, signal } = await runner.ended;
  const stdout = decodeFile(runner.stdoutFile, staged.key);
  if (stdout.end === undefined)
    throw new Error(`no end record: ${code ?? signal}: ${stdout.strays.join('\n')}`);
  const volume = statSync(staged.places.journal, { throwIfNoEntry: false })?.isFile()
    ? decodeFile(staged.places.journal, staged.key)
    : decode(Buffer.alloc(0), staged.key);
  const numbers = stdout.pieces.map(({ seq }) => seq);
  t.same(
    numbers,
    Array.from(numbers, (_, index) => index + 1),
    'invariant 5: lines are numbered from 1 without a gap',
  );
  t.same(stdout.end.lines, numbers.length - 1, 'the end record says how many lines there are');
  t.same(stdout.end.journalDigest, stdout.digest, 'the end record has the digest of all frames');
  t.same(processesWith(staged.order.cookie), [], 'no process of the script is left');
  return { end: stdout.end, stdout, volume, runner };
}

/** Numbers of the processes that carry a cookie. */
export function processesWith(cookie: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const state = /^.*\) (.)/s.exec(readFileSync(`/proc/${name}/stat`, 'latin1'))?.[1];
        return (
          state !== 'Z' &&
          readFileSync(`/proc/${name}/environ`, 'latin1').includes(`LONGSHORE_COOKIE=${cookie}\0`)
        );
      } catch {
        // It ended meanwhile, or belongs to another user.
        return false;
      }
    })
    .map(Number);
}

/** Waits until `met` answers something else than undefined or false; fails after a minute. */
export async function until<T>(what: string, met: () => T | undefined | false): Promise<T> {
  for (const last = Date.now() + 60_000; ;) {
    const answer = met();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > last) throw new Error(`not met within 60 s: ${what}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}

export function must<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the test made something that does not parse');
  return value;
}
