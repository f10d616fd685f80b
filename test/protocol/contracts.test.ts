/** Tables, orders and places that both sides of a wire agree on. */
import fc from 'fast-check';
import { test } from 'tap';
import type { PodWishes } from '../../src/protocol/pod-wishes.ts';
import { canonicalJson } from '../../src/protocol/canonical-json.ts';
import { sha256Of } from '../../src/protocol/digest.ts';
import { FAILURES, isFailureCode } from '../../src/protocol/failure-table.ts';
import { Fault } from '../../src/protocol/fault.ts';
import {
  manifestDigestOf,
  parseManifest,
  serializeManifest,
  type Manifest,
} from '../../src/protocol/manifest.ts';
import { parsePackageId, parsePackageVersion } from '../../src/protocol/package-name.ts';
import { foldedPath, parseRelativePath, type RelativePath } from '../../src/protocol/relative-path.ts';
import { LANGUAGES, parseRunOrder, parseStartedClaim, type RunOrder } from '../../src/protocol/run-order.ts';
import type { ScriptRequest } from '../../src/protocol/script-request.ts';
import {
  nextState,
  SCRIPT_STATES,
  stateFrom,
  type ScriptEvent,
  type ScriptState,
} from '../../src/protocol/script-state.ts';
import { parseTicket, scriptKeyFor } from '../../src/protocol/ticket.ts';
import {
  LAYOUT_FOLDER,
  STAGING_PREFIX,
  TEMPORARY_MARK,
  VolumeLayout,
} from '../../src/protocol/volume-layout.ts';
import { limits } from './made-evidence.ts';

function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the fixture breaks a rule');
  return value;
}

const ticket = sure(parseTicket('t1'));
const key = scriptKeyFor('server', ticket);

const path = fc
  .array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 4 })
  .map((segments) => parseRelativePath(segments.join('/')))
  .filter((parsed): parsed is RelativePath => parsed !== undefined);
const manifest: fc.Arbitrary<Manifest> = fc
  .uniqueArray(path, { selector: foldedPath, maxLength: 8 })
  .chain((paths) => fc.tuple(fc.constant(paths), fc.array(fc.nat(), { minLength: 8, maxLength: 8 })))
  .map(([paths, sizes]) => ({
    version: 1,
    key,
    entries: paths.map((one, index) => ({ path: one, size: sizes[index] ?? 0, sha256: sha256Of(one) })),
  }));

test('canonicalJson() is JSON, and one text for equal values whatever the order of their members', async () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      return (
        canonicalJson(JSON.parse(text)) === text && JSON.stringify(JSON.parse(text)).length === text.length
      );
    }),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const turned = Object.fromEntries(Object.entries(value).reverse());
      return canonicalJson(turned) === canonicalJson(value);
    }),
  );
});

test('wishes about a pod are the same whatever the order of their members, so a start may be repeated', async (t) => {
  const wishes: PodWishes = { image: 'tools:1', nodeSelector: { b: '2', a: '1' } };
  const turned: PodWishes = { nodeSelector: { a: '1', b: '2' }, image: 'tools:1' };
  t.equal(canonicalJson(wishes), canonicalJson(turned));
});

test('canonicalJson() leaves out undefined members, and tells an absent one from null', async (t) => {
  t.equal(canonicalJson({ b: undefined, a: 1 }), '{"a":1}');
  t.equal(canonicalJson({ b: null, a: [undefined] }), '{"a":[null],"b":null}');
  t.equal(canonicalJson('\u2028"é'), JSON.stringify('\u2028"é'));
});

test('parseManifest() reads what serializeManifest() wrote, which is canonical and in the order of paths', async () => {
  fc.assert(
    fc.property(manifest, (written) => {
      const bytes = serializeManifest(written);
      const read = parseManifest(bytes);
      const turned = { ...written, entries: written.entries.toReversed() };
      return (
        read !== undefined &&
        bytes.toString() === `${canonicalJson(read)}\n` &&
        manifestDigestOf(turned) === sha256Of(bytes) &&
        read.entries.length === written.entries.length
      );
    }),
  );
});

test('parseManifest() refuses two names of one file, a path that leaves, and whatever is not whole', async (t) => {
  const entry = { path: 'files/a', size: 1, sha256: sha256Of('a') };
  const text = (entries: readonly unknown[], more = {}) =>
    Buffer.from(canonicalJson({ version: 1, key, entries, ...more }));
  t.ok(parseManifest(text([entry])));
  for (const [why, entries] of [
    ['twice', [entry, entry]],
    ['other case', [entry, { ...entry, path: 'files/A' }]],
    [
      'other form',
      [
        { ...entry, path: '\u00e9' },
        { ...entry, path: 'e\u0301' },
      ],
    ],
    ['leaves', [{ ...entry, path: '../a' }]],
    ['NUL', [{ ...entry, path: 'a\0' }]],
    ['negative', [{ ...entry, size: -1 }]],
    ['half a byte', [{ ...entry, size: 0.5 }]],
    ['digest', [{ ...entry, sha256: 'x' }]],
    ['null', [null]],
  ] as const) {
    t.equal(parseManifest(text(entries)), undefined, why);
  }
  t.equal(parseManifest(text([entry], { version: 2 })), undefined, 'a later version');
  t.equal(parseManifest(text([entry], { key: '../x' })), undefined, 'no key');
  const whole = text([entry]);
  for (let length = 0; length < whole.length; length += 1) {
    if (parseManifest(whole.subarray(0, length))) t.fail(`cut at ${length}`);
  }
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (other) => !parseManifest(Buffer.from(other))));
});

/** Every event that can happen, drawn as in script-state.ts. */
const TABLE: Readonly<Record<ScriptState, Partial<Record<ScriptEvent, ScriptState>>>> = {
  published: { 'isolation-wait': 'waiting', launch: 'launched', start: 'running', settle: 'finished' },
  waiting: { 'isolation-wait': 'waiting', launch: 'launched', start: 'running', settle: 'finished' },
  launched: { launch: 'launched', start: 'running', settle: 'finished' },
  running: { launch: 'running', start: 'running', settle: 'finished' },
  finished: { settle: 'finished', complete: 'completed' },
  completed: { complete: 'completed' },
};
const EVENTS: readonly ScriptEvent[] = ['isolation-wait', 'launch', 'start', 'settle', 'complete'];

test('nextState() follows the table, and nothing else happens', async (t) => {
  for (const state of SCRIPT_STATES) {
    for (const event of EVENTS) t.equal(nextState(state, event), TABLE[state][event], `${state} ${event}`);
  }
});

test('nextState() never goes back, whatever comes in whatever order', async () => {
  const rank = (state: ScriptState) => SCRIPT_STATES.indexOf(state);
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...EVENTS)), (events) => {
      let state: ScriptState = 'published';
      for (const event of events) {
        const next: ScriptState = nextState(state, event) ?? state;
        if (rank(next) < rank(state)) return false;
        state = next;
      }
      return true;
    }),
  );
});

test('stateFrom() takes the strongest evidence, so that more of it never makes a script younger', async () => {
  const evidence = fc.record({
    tombstone: fc.boolean(),
    outcome: fc.boolean(),
    started: fc.boolean(),
    launched: fc.boolean(),
    inLine: fc.boolean(),
  });
  fc.assert(
    fc.property(
      evidence,
      fc.constantFrom('tombstone', 'outcome', 'started', 'launched', 'inLine'),
      (seen, more) => {
        const rank = (state: ScriptState) => SCRIPT_STATES.indexOf(state);
        return rank(stateFrom({ ...seen, [more]: true })) >= rank(stateFrom(seen));
      },
    ),
  );
});

test('every row of the failure table can be read by a person and a machine', async (t) => {
  for (const [code, row] of Object.entries(FAILURES)) {
    t.match(code, /^[A-Z]+(_[A-Z]+)*$/);
    t.ok(isFailureCode(code));
    t.match(row.says, /^[a-z].*[^.]$/, `${code} says a sentence without a full stop`);
    t.ok(row.status === null || (row.status >= 400 && row.status < 600), `${code} has a status of an error`);
    t.equal(row.exit === 0, code === 'SUCCEEDED', `${code} exits with 0 only for success`);
  }
  for (const code of ['', 'succeeded', 'toString', '__proto__']) t.notOk(isFailureCode(code), code);
});

test('a Fault keeps its code, detail and cause, and none where there is none', async (t) => {
  const cause = new Error('below');
  const fault = new Fault('STORAGE_FULL', 'cannot write', { cause, detail: { path: 'x' } });
  t.equal(fault.cause, cause);
  t.strictSame(
    [fault.code, fault.detail, fault.says],
    ['STORAGE_FULL', { path: 'x' }, FAILURES.STORAGE_FULL.says],
  );
  t.notOk('cause' in new Fault('STORAGE_FULL', 'cannot write'));
});

test('invariant 3: parseStartedClaim() takes only a whole claim, so that half a file is no claim yet', async (t) => {
  const claims = [
    { by: 'runner', pid: 5, startTicks: '77', bootId: 'b', host: 'h', stdout: null, at: 'now' },
    { by: 'agent', reason: 'cancelled', at: 'now' },
  ];
  for (const claim of claims) {
    const text = JSON.stringify(claim);
    t.strictSame(parseStartedClaim(text), claim);
    for (let length = 0; length < text.length; length += 1) {
      if (parseStartedClaim(text.slice(0, length))) t.fail(`cut at ${length}`);
    }
  }
  for (const other of ['null', '{}', '[]', '{"by":"nobody"}', '{"by":"runner","pid":"5"}']) {
    t.equal(parseStartedClaim(other), undefined, other);
  }
});

test('parseRunOrder() takes an order of this version, and nothing that was cut off', async (t) => {
  const order: RunOrder = {
    version: 1,
    key,
    ticket,
    journalKey: Buffer.alloc(32).toString('base64'),
    cookie: 'c',
    workspace: '/w',
    epochFile: '/e',
    epoch: 'e',
    manifestDigest: sha256Of(''),
    language: LANGUAGES[0],
    arguments: [],
    variables: [{ name: 'n', value: 'v', sensitive: true }],
    deadlineMs: null,
    graceMs: 1,
    drainMs: 1,
    journalMaxBytes: 1,
    volumeDeadlineMs: 1,
    mountFolder: '/data',
    mount: limits,
    copy: null,
  };
  const text = JSON.stringify(order);
  t.strictSame(parseRunOrder(text), order);
  t.equal(parseRunOrder(JSON.stringify({ ...order, version: 2 })), undefined);
  for (let length = 0; length < text.length; length += 1) {
    if (parseRunOrder(text.slice(0, length))) t.fail(`cut at ${length}`);
  }
});

test('a start body needs no more than a language and a text', async (t) => {
  const request: ScriptRequest = { language: 'bash', body: 'true' };
  t.ok(LANGUAGES.includes(request.language));
});

test('VolumeLayout keeps every place below its versioned root, and no two of them are one', async (t) => {
  const layout = new VolumeLayout('/mnt/volume//');
  const [id, version] = [sure(parsePackageId('web')), sure(parsePackageVersion('1.0'))];
  const workspace = layout.workspace(key);
  const record = layout.ticket(key);
  const places = [
    ...layout.folders.slice(1),
    ...[
      layout.epoch,
      layout.blob(sha256Of('')),
      layout.package(id, version),
      layout.upload('u'),
      layout.lock('l'),
    ],
    ...[layout.staging('s').root, workspace.root, workspace.manifest, workspace.script, workspace.files],
    ...[
      workspace.packages,
      workspace.out,
      workspace.started,
      workspace.journal,
      workspace.result,
      workspace.artifacts,
    ],
    ...[
      record.root,
      record.asked,
      record.cancel,
      record.outcome,
      record.tombstone,
      record.lines,
      record.line(1),
    ],
  ];
  for (const place of places) t.ok(place.startsWith(`/mnt/volume/${LAYOUT_FOLDER}/`), place);
  t.equal(new Set(places).size, places.length);
  t.equal(layout.root, `/mnt/volume/${LAYOUT_FOLDER}`);
  t.notOk(
    layout.folders.some((folder, index) =>
      layout.folders.slice(0, index).some((one) => one.startsWith(`${folder}/`)),
    ),
    'parents come first',
  );
});

test('no name from outside looks like one that is still being made', async () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const names = [parsePackageId(text), parsePackageVersion(text), parseTicket(text)];
      return names.every((name) => !name?.includes(TEMPORARY_MARK) && !name?.startsWith(STAGING_PREFIX));
    }),
  );
});
