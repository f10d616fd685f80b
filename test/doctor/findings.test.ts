/** What the doctor makes of facts: one verdict, one sentence, an advice where something should be other. */
import { constants } from 'node:os';
import { test } from 'tap';
import { CHECKS } from '../../src/doctor/check-list.ts';
import { digits, milliseconds, percentile, rounded, size } from '../../src/doctor/figures.ts';
import { EXIT_CODES, worstOf, type Finding, type Verdict } from '../../src/doctor/finding.ts';
import { mountFindings, serverFindings } from '../../src/doctor/mount-findings.ts';
import { nfsFindings, optionsText } from '../../src/doctor/mount-options.ts';
import { reportOf, reportText } from '../../src/doctor/report.ts';
import { fsyncFinding } from '../../src/doctor/speed-findings.ts';
import { failedFinding, hangingFinding } from '../../src/doctor/trouble-findings.ts';
import { findingsFor } from '../../src/doctor/volume-findings.ts';
import { parseMountInfo, type MountFacts } from '../../src/mount/mount-info.ts';

const limits = { reserveBytes: 2 ** 20 };
const MIB = 2 ** 20;

function mounted(fileSystem: string, source: string, options: string): MountFacts {
  const [mount] = parseMountInfo(`36 35 0:50 / /mnt rw,relatime - ${fileSystem} ${source} ${options}\n`);
  if (mount === undefined) throw new TypeError('no line of mountinfo');
  return mount;
}

function verdicts(findings: readonly Finding[]): Record<string, Verdict> {
  return Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]));
}

const CHART =
  'rw,vers=4.1,rsize=262144,soft,proto=tcp,timeo=50,retrans=4,sec=sys,lookupcache=none,addr=10.0.0.7';
const DEFAULTS = 'rw,vers=4.2,hard,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.3,addr=10.0.0.7';

test('nfsFindings() judges each option of an NFS mount, with its reason', (t) => {
  const chart = nfsFindings(mounted('nfs4', 'nfs:/', CHART));
  t.same(verdicts(chart), {
    'nfs-version': 'good',
    'nfs-errors': 'note',
    'nfs-lookups': 'good',
    'nfs-coherence': 'good',
    'nfs-port': 'note',
  });
  t.match(chart[1], { figures: { firstErrorSeconds: 25 }, measured: 'soft,timeo=50,retrans=4' });
  t.match(verdicts(nfsFindings(mounted('nfs4', 'nfs:/', DEFAULTS))), {
    'nfs-errors': 'good',
    'nfs-lookups': 'warn',
  });
  const of = (more: string): Record<string, Verdict> =>
    verdicts(nfsFindings(mounted('nfs4', 'nfs:/', `${DEFAULTS},${more}`)));
  for (const option of ['lookupcache=pos', 'noac', 'actimeo=1', 'acdirmin=1,acdirmax=3'])
    t.equal(of(option)['nfs-lookups'], 'good', option);
  t.equal(of('acdirmax=30')['nfs-lookups'], 'warn');
  t.equal(of('nocto')['nfs-coherence'], 'bad');
  t.equal(of('nosharecache')['nfs-coherence'], 'warn');
  t.equal(of('noresvport')['nfs-port'], 'good');
  t.equal(of('vers=3')['nfs-version'], 'note');
  t.same(nfsFindings(mounted('ext4', '/dev/sda', 'rw')), []);
  for (const { verdict, advice, check } of chart)
    if (verdict !== 'good') t.ok(advice, `${check} has an advice`);
  t.end();
});

test('optionsText() compares two machines by what should be the same on both', (t) => {
  const [here, there] = [DEFAULTS, DEFAULTS.replace('clientaddr=10.0.0.3', 'clientaddr=10.0.0.9')];
  t.equal(optionsText(mounted('nfs4', 'nfs:/', here)), optionsText(mounted('nfs4', 'nfs:/', there)));
  t.not(optionsText(mounted('nfs4', 'nfs:/', here)), optionsText(mounted('nfs4', 'nfs:/', CHART)));
  t.end();
});

test('mountFindings() tells a local disk, other network file systems, and one that is read-only', (t) => {
  t.match(mountFindings(undefined), [{ check: 'file-system', verdict: 'note' }]);
  t.match(mountFindings(mounted('ext4', '/dev/sda', 'rw')), [{ verdict: 'note', says: /only this machine/ }]);
  t.match(mountFindings(mounted('ceph', 'mon:/', 'rw')), [{ verdict: 'note', says: /not judged/ }]);
  t.match(mountFindings(mounted('nfs4', 'nfs:/', CHART))[0], { verdict: 'good' });
  const readonly = mountFindings(mounted('nfs4', 'nfs:/', CHART.replace('rw', 'ro')));
  t.match(readonly[0], { verdict: 'bad', code: 'STORAGE_READONLY' });
  t.end();
});

test('serverFindings() judges what the server says, and where its name points', (t) => {
  const address = '10.0.0.7';
  const server = (answer: object) =>
    serverFindings([
      { kind: 'server', atMs: 0, address, answer } as Parameters<typeof serverFindings>[0][0],
    ])[0];
  t.match(server({ is: 'boot-id', bootId: '66aa' }), { verdict: 'good', measured: /66aa/ });
  t.match(server({ is: 'unsupported', says: 'it has no NFS version 4.1' }), { verdict: 'note' });
  t.match(server({ is: 'timeout', says: 'nothing' }), { verdict: 'warn', advice: /2049/ });
  const named = (name: string, resolved: string[]) =>
    serverFindings([{ kind: 'address', atMs: 0, name, mounted: address, resolved }])[0];
  t.match(named('nfs.example', [address]), { verdict: 'good' });
  t.match(named('nfs.example', []), { verdict: 'note' });
  t.match(named('nfs.example', ['10.0.0.8']), { verdict: 'bad', code: 'STORAGE_UNREACHABLE' });
  t.match(named('nfs.example', [address, '10.0.0.8']), { verdict: 'warn', advice: /headless/ });
  t.match(named('nfs.storage.svc.cluster.local', [address]), { verdict: 'note', advice: /ClusterIP/ });
  t.end();
});

test('findingsFor() says good of what holds, and bad of what Longshore cannot live with', (t) => {
  const rename = { renames: 9, isLast: true, reads: 99, absent: 0, mixed: 0, stale: 0 };
  const race = { names: 20, creators: 8, doubled: 0, missing: 0 };
  const user = { uid: 5, gid: 5, ownerUid: 5, ownerGid: 5, mode: 0o444 };
  const space = {
    bytes: 64 * MIB,
    seconds: 1,
    freeBefore: 900 * MIB,
    freeFull: 836 * MIB,
    freeAfter: 900 * MIB,
  };
  const quick = { create: [1], fsync: [1], rename: [1], open: [1], list: [1], unlink: [1] };
  const cases: [readonly Finding[], Verdict][] = [
    [findingsFor('answers', { realPath: '/v', ms: 3 }, limits), 'good'],
    [findingsFor('folder', { swept: 0 }, limits), 'good'],
    [findingsFor('rename', rename, limits), 'good'],
    [findingsFor('rename', { ...rename, stale: 1 }, limits), 'note'],
    [findingsFor('rename', { ...rename, absent: 1 }, limits), 'bad'],
    [findingsFor('rename', { ...rename, mixed: 1 }, limits), 'bad'],
    [findingsFor('rename', { ...rename, isLast: false }, limits), 'bad'],
    [findingsFor('exclusive', race, limits), 'good'],
    [findingsFor('exclusive', { ...race, doubled: 1 }, limits), 'bad'],
    [findingsFor('exclusive', { ...race, missing: 1 }, limits), 'bad'],
    [findingsFor('fsync', { fileMs: [9], folderMs: [9] }, limits), 'good'],
    [findingsFor('fsync', { fileMs: [9], folderMs: [200] }, limits), 'note'],
    [findingsFor('fsync', { fileMs: [2000], folderMs: [9] }, limits), 'warn'],
    [findingsFor('close-to-open', { rounds: 20, wrong: 0 }, limits), 'good'],
    [findingsFor('close-to-open', { rounds: 20, wrong: 1 }, limits), 'bad'],
    [findingsFor('listing', { files: 40, unseen: 0, stillSeen: 0 }, limits), 'good'],
    [findingsFor('listing', { files: 40, unseen: 0, stillSeen: 1 }, limits), 'bad'],
    [findingsFor('links', {}, limits), 'good'],
    [findingsFor('links', { refused: constants.errno.EPERM }, limits), 'note'],
    [findingsFor('permissions', user, limits), 'good'],
    [findingsFor('permissions', { ...user, ownerUid: 65534 }, limits), 'note'],
    [findingsFor('permissions', { ...user, mode: 0o777 }, limits), 'note'],
    [findingsFor('space', space, limits), 'good'],
    [findingsFor('space', { ...space, freeFull: 900 * MIB }, limits), 'note'],
    [findingsFor('space', space, { reserveBytes: 2 ** 40 }), 'warn'],
    [findingsFor('space', { ...space, seconds: 60 }, limits).slice(1), 'note'],
    [findingsFor('small-files', { files: 100, seconds: 1 }, limits), 'good'],
    [findingsFor('small-files', { files: 100, seconds: 10 }, limits), 'note'],
    [findingsFor('latency', quick, limits), 'good'],
    [findingsFor('latency', { ...quick, list: [60] }, limits), 'note'],
    [findingsFor('latency', { ...quick, list: [600] }, limits), 'warn'],
    [findingsFor('cleanup', { removed: true }, limits), 'good'],
  ];
  for (const [[finding], verdict] of cases) t.equal(finding?.verdict, verdict, finding?.says ?? 'nothing');
  t.end();
});

test('fsyncFinding() goes by the slower of file and folder, each by its median', (t) => {
  const finding = fsyncFinding({ fileMs: [1, 2, 900], folderMs: [150, 150, 150] });
  t.match(finding, { verdict: 'note', figures: { fileMs: 2, folderMs: 150, rounds: 3 }, advice: /disk/ });
  t.end();
});

test('failedFinding() names an error of the volume by its number', (t) => {
  const { ENOSPC, EROFS, EACCES, ESTALE, EIO } = constants.errno;
  const codes = {
    [ENOSPC]: 'STORAGE_FULL',
    [EROFS]: 'STORAGE_READONLY',
    [EACCES]: 'STORAGE_DENIED',
    [ESTALE]: 'STORAGE_STALE',
    [EIO]: 'STORAGE_ERROR',
  };
  for (const [errno, code] of Object.entries(codes)) {
    const finding = failedFinding('rename', { says: 'as it came', errno: Number(errno) });
    t.match(finding, { verdict: 'bad', code, says: /as it came/, advice: /./ });
  }
  t.match(failedFinding('rename', { says: 'a bug' }), { verdict: 'bad', code: 'STORAGE_ERROR' });
  t.match(hangingFinding('rename', 4000), { verdict: 'hangs', code: 'STORAGE_TIMEOUT', measured: /4 s/ });
  t.end();
});

test('a report has the worst verdict, its exit code, and the order of the list of checks', (t) => {
  const findings: Finding[] = [
    { check: 'cleanup', verdict: 'good', says: 'nothing is left' },
    {
      check: 'answers',
      verdict: 'note',
      says: 'word '.repeat(60).trim(),
      advice: 'do it',
      code: 'STORAGE_ERROR',
    },
  ];
  const report = reportOf(findings, { volume: '/mnt', startedAtMs: 0, seconds: 1.26 });
  t.match(report, {
    version: 1,
    verdict: 'note',
    exitCode: 0,
    seconds: 1.3,
    startedAt: '1970-01-01T00:00:00.000Z',
  });
  t.same(
    report.findings.map(({ check }) => check),
    ['answers', 'cleanup'],
  );
  const text = reportText(report);
  t.ok(text.split('\n').every((line) => line.length <= 100));
  t.match(text, /^note {3}answers {2}word/m);
  t.match(text, /▸ do it/);
  t.match(text, /note: 1 good, 1 note; 1\.3 s$/);
  t.equal(worstOf([]), 'good');
  t.same(EXIT_CODES, { good: 0, note: 0, warn: 1, bad: 74, hangs: 74 });
  t.equal(new Set(Object.keys(CHECKS)).size, Object.keys(CHECKS).length);
  t.end();
});

test('figures are written with the digits that mean something', (t) => {
  t.equal(percentile([3, 1, 2], 0.5), 2);
  t.equal(percentile([3, 1, 2], 0.99), 3);
  t.equal(percentile([], 0.5), 0);
  t.same([digits(123.4), digits(12.34), digits(1.234)], ['123', '12.3', '1.23']);
  t.equal(milliseconds(1.234), '1.23 ms');
  t.same([size(12), size(1536), size(300 * MIB)], ['12 B', '1.5 KiB', '300 MiB']);
  t.equal(rounded(1.23456), 1.235);
  t.end();
});
