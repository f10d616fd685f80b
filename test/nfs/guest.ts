/** A running guest: a machine of its own under QEMU, without KVM, which takes commands over a connection. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../cluster/command.ts';
import { eventually } from '../harness/eventually.ts';
import { addressesOf, agentPorts, control, laneNumbers, places } from './places.ts';
import type { LaneNumber } from './places.ts';

/** A guest of two emulated processors takes 10 s on a quiet machine. */
const BOOT_DEADLINE_MS = 300_000;
const MEMORY_MIB = 3072;

export interface AgentAddresses {
  readonly url: string;
  readonly metrics: string;
}

interface Forwarded {
  readonly control: number;
  readonly agents: ReadonlyMap<LaneNumber, AgentAddresses>;
  /** What QEMU is told. */
  readonly rules: readonly string[];
}

export class Guest {
  readonly #machine: ChildProcess;
  readonly #forwarded: Forwarded;

  private constructor(machine: ChildProcess, forwarded: Forwarded) {
    this.#machine = machine;
    this.#forwarded = forwarded;
  }

  /** Starts a guest and returns when it takes commands; its end is part of the test's end. Its console goes to `logs/<name>.log`. */
  static async boot(t: { teardown: (work: () => Promise<void>) => void }, name: string): Promise<Guest> {
    if (!existsSync(places.packagesDisk))
      throw new Error('There is no guest: npm run test:nfs makes the disks of one');
    mkdirSync(places.logs, { recursive: true });
    const folder = mkdtempSync(join(tmpdir(), 'longshore-nfs-'));
    const forwarded = await forwarding();
    const machine = await startMachine(folder, forwarded, join(places.logs, `${name}.log`));
    const guest = new Guest(machine, forwarded);
    const ended = new Promise<void>((resolve) => machine.once('close', () => resolve()));
    t.teardown(async () => {
      machine.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    });
    const isUp = async (): Promise<boolean> => (await guest.run('echo up', 5000).catch(() => '')) === 'up\n';
    await eventually(isUp, BOOT_DEADLINE_MS, 1000);
    // QEMU has the files open by now, and whatever ends it, nothing is left of them.
    rmSync(folder, { recursive: true });
    return guest;
  }

  /** Where the host reaches the agent of a lane. */
  agent(lane: LaneNumber): AgentAddresses {
    const addresses = this.#forwarded.agents.get(lane);
    if (addresses === undefined) throw new RangeError(`there is no lane ${lane}`);
    return addresses;
  }

  /** Runs lines of bash in the guest, with the functions of guest/lab.sh, and returns what they wrote.
   *  @throws {Error} with their output when they do not end with 0 before the deadline. */
  async run(script: string, deadlineMs = 120_000): Promise<string> {
    if (this.#machine.exitCode !== null || this.#machine.signalCode !== null)
      throw new Error(`The guest has ended: its console is in ${places.logs}`);
    const { output, code } = await sendScript(this.#forwarded.control, script, deadlineMs);
    if (code !== 0) throw new Error(`${script.slice(0, 200)}: exit code ${code}\n${output.slice(-8192)}`);
    return output;
  }
}

/** Starts QEMU, with what it writes in `folder` and the console of the guest in `log`. */
async function startMachine(folder: string, forwarded: Forwarded, log: string): Promise<ChildProcess> {
  const volumes = join(folder, 'volumes.img');
  await command('mkfs.ext4', ['-q', '-O', '^has_journal', volumes, '4G']);
  const output = openSync(log, 'w');
  // With the death signal, a test that is killed leaves no machine behind. TMPDIR is where QEMU keeps its snapshots.
  const args = ['-n', '10', 'setpriv', '--pdeathsig', 'KILL', ...qemu(volumes, forwarded)];
  const machine = spawn('nice', args, {
    stdio: ['ignore', output, output],
    env: { ...process.env, TMPDIR: folder },
  });
  closeSync(output);
  return machine;
}

function sendScript(
  port: number,
  script: string,
  deadlineMs: number,
): Promise<{ output: string; code: number }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port });
    let output = '';
    const timer = setTimeout(
      () => socket.destroy(new Error(`${script.slice(0, 200)}: no end after ${deadlineMs} ms\n${output}`)),
      deadlineMs,
    );
    socket.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const [, said, code] = /^(.*)\x04(\d+)\n$/s.exec(output) ?? [];
      if (said === undefined) return;
      resolve({ output: said, code: Number(code) });
      socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      reject(new Error(`${script.slice(0, 200)}: the guest closed the connection\n${output}`));
    });
    socket.end(script);
  });
}

function qemu(volumes: string, { rules }: Forwarded): string[] {
  const disk = (file: string, more: string): string[] => [
    '-drive',
    `file=${file},format=raw,if=virtio,cache=unsafe,${more}`,
  ];
  const machine = ['-M', 'pc', '-accel', 'tcg,thread=multi,tb-size=512', '-cpu', 'max', '-smp', '2'];
  const noWindow = ['-nographic', '-no-reboot', '-monitor', 'none', '-serial', 'stdio'];
  return [
    'qemu-system-x86_64',
    ...[...machine, '-m', String(MEMORY_MIB), ...noWindow],
    ...['-kernel', places.kernel, '-initrd', places.ramdisk],
    ...['-append', 'console=ttyS0 quiet loglevel=4 panic=-1'],
    ...disk(places.disk, 'snapshot=on'),
    ...disk(places.projectDisk, 'snapshot=on'),
    ...disk(volumes, 'snapshot=off'),
    ...disk(places.packagesDisk, 'snapshot=on'),
    ...['-netdev', ['user,id=host,restrict=on,ipv6=off', ...rules].join(',')],
    // A ROM for booting over the network is another package.
    ...['-device', 'virtio-net-pci,netdev=host,romfile='],
  ];
}

/** Takes free ports of the machine for the control of a guest and for its agents. */
async function forwarding(): Promise<Forwarded> {
  const rules: string[] = [];
  const forward = async (address: string, port: number): Promise<number> => {
    const free = await freePort();
    rules.push(`hostfwd=tcp:127.0.0.1:${free}-${address}:${port}`);
    return free;
  };
  const agents = new Map<LaneNumber, AgentAddresses>();
  for (const lane of laneNumbers) {
    const { client } = addressesOf(lane);
    const [http, metrics] = [
      await forward(client, agentPorts.http),
      await forward(client, agentPorts.metrics),
    ];
    agents.set(lane, { url: `http://127.0.0.1:${http}`, metrics: `http://127.0.0.1:${metrics}/metrics` });
  }
  return { control: await forward(control.address, control.port), agents, rules };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  // An address of TCP is an object.
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
