import { execFile, execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AgentProcess } from '../harness/agent-process.ts';
import { eventually } from '../harness/eventually.ts';
import { withAgent } from './bench-agent.ts';
import { median, type BenchResult, type BenchRow } from './bench-result.ts';

const MIB = 1024 * 1024;
const SIZE_MIB = Number(process.env['LONGSHORE_BENCH_MIB'] ?? 1024);
const ROUNDS = Number(process.env['LONGSHORE_BENCH_ROUNDS'] ?? 5);
const GOAL = 0.9;
const NGINX_PORT = 18_080;
/** Room on the disk for every round of ours and one file of each rival. */
const NEEDED_BYTES = SIZE_MIB * MIB * (ROUNDS + 4);

const NOTES = [
  'curl, which sends, shares the processors with the agent. On two cores the sum of sending, receiving, hashing and writing is the limit, not the disk.',
  'Won: batches of 256 KiB by writev, two at once; giving the memory of each chunk back as soon as it is written (receiving then takes half of the CPU time).',
  'Lost or drew: hash and write in a worker with transferred buffers (0.75 of the throughput at the same CPU time), batches of 1 and 4 MiB, three writes at once, setting the length of the file beforehand.',
];

const execute = promisify(execFile);

/** Seconds of each round by what was done in it. */
type Times = Record<'sha256' | 'dd' | 'nginx' | 'push', number[]>;

async function seconds(command: string, ...rest: readonly string[]): Promise<number> {
  const from = performance.now();
  await execute(command, rest);
  return (performance.now() - from) / 1000;
}

/** Makes the file of one round: the same bytes but for the first eight, since equal bytes are stored once. */
function stamp(file: string, round: number): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, String(round).padStart(8, '0'), 0);
  closeSync(descriptor);
  execFileSync('bash', ['-c', 'sync; cat "$1" > /dev/null', '-', file]);
}

async function push(agent: AgentProcess, file: string, round: number): Promise<number> {
  const url = `${agent.url}/v1/packages/bench/${round}?filename=bench.bin`;
  const token = `Authorization: Bearer ${agent.token}`;
  return seconds('curl', '-sS', '--fail', '-o', '/dev/null', '-H', token, '-T', file, url);
}

const NGINX_CONFIG = (folder: string): string => `
worker_processes 1; daemon off; pid ${folder}/pid; error_log stderr crit;
user root;
events {}
http {
  access_log off; client_max_body_size 0; client_body_temp_path ${folder}/temp;
  proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server { listen 127.0.0.1:${NGINX_PORT}; root ${folder}/files; location / { dav_methods PUT; } }
}`;

/** Starts nginx with files on the same disk; undefined where there is no nginx. */
async function startNginx(folder: string): Promise<{ stop: () => Promise<void> } | undefined> {
  mkdirSync(join(folder, 'files'), { recursive: true });
  const config = NGINX_CONFIG(folder).replace(process.getuid?.() === 0 ? /^$/ : 'user root;', '');
  writeFileSync(join(folder, 'conf'), config);
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'conf')], { stdio: 'ignore' });
  let isGone = false;
  const gone = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  }).then(() => void (isGone = true));
  const answers = () => fetch(`http://127.0.0.1:${NGINX_PORT}/`).then(Boolean, () => false);
  await eventually(async () => isGone || (await answers()));
  if (isGone) return undefined;
  return { stop: async () => (child.kill('SIGTERM'), gone) };
}

/** What it costs with nginx to have what we give: the bytes, their digest, and both on the disk. */
async function nginxSeconds(file: string): Promise<number> {
  const put = await seconds('curl', '-sS', '--fail', '-T', file, `http://127.0.0.1:${NGINX_PORT}/bench.bin`);
  return put + (await seconds('openssl', 'dgst', '-sha256', file)) + (await seconds('sync'));
}

async function measure(agent: AgentProcess, folder: string): Promise<Times> {
  const times: Times = { sha256: [], dd: [], nginx: [], push: [] };
  const file = join(folder, 'source');
  execFileSync('dd', ['if=/dev/urandom', `of=${file}`, 'bs=1M', `count=${SIZE_MIB}`, 'status=none']);
  const nginx = await startNginx(join(folder, 'nginx'));
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      stamp(file, round);
      times.sha256.push(await seconds('openssl', 'dgst', '-sha256', file));
      times.dd.push(await seconds('dd', `if=${file}`, `of=${file}.dd`, 'bs=1M', 'conv=fsync', 'status=none'));
      execFileSync('sync');
      times.push.push(await push(agent, file, round));
      if (nginx) times.nginx.push(await nginxSeconds(file));
    }
  } finally {
    await nginx?.stop();
  }
  return times;
}

function rowsFor(times: Times): BenchRow[] {
  const speed = (label: string, values: readonly number[]): BenchRow => ({
    label: `${label}, median`,
    value: SIZE_MIB / median(values),
    unit: 'MiB/s',
  });
  const rows = [
    speed('openssl dgst -sha256', times.sha256),
    speed('dd conv=fsync', times.dd),
    speed('longshore: received, hashed, fsynced', times.push),
    { label: 'longshore, fastest', value: SIZE_MIB / Math.min(...times.push), unit: 'MiB/s' },
    { label: 'of the slower of sha256 and dd, median of pairs', value: ratioOfSlower(times), unit: '×' },
  ];
  if (times.nginx.length === 0) return rows;
  return [
    ...rows,
    speed('nginx PUT + openssl sha256 + sync', times.nginx),
    { label: 'of nginx with both, median of pairs', value: ratioOf(times.nginx, times.push), unit: '×' },
  ];
}

/** Of each round by itself, since a machine is not the same in all of them. */
function ratioOf(rival: readonly number[], ours: readonly number[]): number {
  return median(ours.map((time, round) => (rival[round] ?? Number.NaN) / time));
}

function ratioOfSlower({ sha256, dd, push: ours }: Times): number {
  return ratioOf(
    sha256.map((time, round) => Math.max(time, dd[round] ?? 0)),
    ours,
  );
}

/** One large package pushed by curl into a real agent, against hashing alone, writing alone, and nginx with both. */
export async function run(): Promise<BenchResult> {
  return withAgent(async (agent, folder) => {
    const { bavail, bsize } = statfsSync(folder);
    if (bavail * bsize < NEEDED_BYTES)
      throw new RangeError(`${folder} has no room for ${NEEDED_BYTES} bytes`);
    const times = await measure(agent, folder);
    rmSync(join(folder, 'source'));
    return {
      name: 'upload of a large package',
      goal: `${SIZE_MIB} MiB at ${GOAL} of the slower of sha256 and dd with fsync; first, faster than nginx with both`,
      rows: rowsFor(times),
      met: ratioOfSlower(times) >= GOAL,
      notes: [
        ...(times.nginx.length > 0 ? [] : ['nginx is not installed here, so that it was not measured.']),
        ...NOTES,
      ],
    };
  });
}
