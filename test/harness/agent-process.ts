import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { JournalLine, ScriptStatus } from '../../src/protocol/script-status.ts';

export interface AgentOptions {
  readonly volume: string;
  readonly state: string;
  readonly flags?: readonly string[];
  /** The file of tokens, where it is not in the state folder. */
  readonly tokens?: string;
  /** The program instead of the built command line, with its arguments in front of the flags of `serve`. */
  readonly program?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Instead of the Node that the test runs in. */
  readonly node?: string;
  /** User and group that it runs as, where that is not the one of the test. */
  readonly user?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

const READY_DEADLINE_MS = 30_000;

/** A real agent in a process of its own, as the command line starts it. */
export class AgentProcess {
  readonly child: ChildProcess;
  readonly log: string[] = [];
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
  readonly #options: AgentOptions;
  url = '';
  metrics = '';

  constructor(options: AgentOptions) {
    this.#options = options;
    const program = options.program ?? [resolve('.build/cli.js'), 'serve'];
    const places = ['--volume', options.volume, '--state', options.state];
    const ports = ['--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0'];
    this.child = spawn(
      options.node ?? process.execPath,
      [...program, ...places, ...ports, ...(options.flags ?? [])],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH: process.env['PATH'] ?? '', UV_THREADPOOL_SIZE: '64', ...options.environment },
        ...(options.user !== undefined && { uid: options.user, gid: options.user }),
      },
    );
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code, signal) => resolve({ code, signal })),
    );
  }

  /** Starts an agent and waits until it is ready; its end is part of the test's end. */
  static async start(
    t: { teardown: (work: () => Promise<void>) => void },
    options: AgentOptions,
  ): Promise<AgentProcess> {
    const agent = new AgentProcess(options);
    t.teardown(() => agent.kill());
    await agent.ready();
    return agent;
  }

  async ready(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(
      () => reject(new Error(`the agent is not ready:\n${this.log.join('\n')}`)),
      READY_DEADLINE_MS,
    );
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream === null) continue;
      createInterface(stream).on('line', (line) => {
        this.log.push(line);
        if (line.includes('"agent is ready"')) resolve(undefined);
      });
    }
    this.ended.then(
      ({ code, signal }) => reject(new Error(`the agent ended (${code ?? signal}):\n${this.log.join('\n')}`)),
      reject,
    );
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
    const line = this.log.find((text) => text.includes('"agent is ready"')) ?? '{}';
    // The agent's own log line: its fields are what serve.ts writes.
    const { listen, metrics } = JSON.parse(line) as { listen: string; metrics: string };
    this.url = `http://${listen}`;
    this.metrics = `http://${metrics}/metrics`;
  }

  get token(): string {
    const line = readFileSync(this.#options.tokens ?? `${this.#options.state}/tokens`, 'utf8')
      .split('\n')
      .find((text) => text.startsWith('default:'));
    return line?.slice('default:'.length).trim() ?? '';
  }

  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const raw = body instanceof Uint8Array;
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body !== undefined && { 'content-type': raw ? 'application/octet-stream' : 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: raw ? new Uint8Array(body) : JSON.stringify(body) }),
      signal: AbortSignal.timeout(120_000),
    });
    const text = await response.text();
    const json = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {};
    return { status: response.status, headers: response.headers, text, json };
  }

  async push(id: string, version: string, bytes: Uint8Array, fileName = 'package.zip'): Promise<Answer> {
    const digest = createHash('sha256').update(bytes).digest('base64');
    const path = `/v1/packages/${id}/${version}?filename=${fileName}`;
    return this.call('PUT', path, bytes, { 'repr-digest': `sha-256=:${digest}:` });
  }

  /** Follows a script to its end; `lines` are all lines, each once, as the pages gave them. */
  async follow(ticket: string, after = 's0.a0'): Promise<{ status: ScriptStatus; lines: JournalLine[] }> {
    const lines: JournalLine[] = [];
    const status = await this.followPages(ticket, (page) => lines.push(...page), after);
    return { status, lines };
  }

  /** As `follow`, for one who keeps no line; returns the last answer. */
  async followPages(
    ticket: string,
    take: (lines: readonly JournalLine[]) => void,
    after = 's0.a0',
  ): Promise<ScriptStatus> {
    for (let cursor = after; ;) {
      const { status, json, text } = await this.call('GET', `/v1/scripts/${ticket}?after=${cursor}&wait=20`);
      if (status !== 200) throw new Error(`GET ${ticket} answered ${status}: ${text}`);
      // Checked against the schema in test/api; here it is read.
      const page = json as unknown as ScriptStatus;
      take(page.journal.lines);
      cursor = page.journal.next;
      if (page.outcome && !page.journal.more) return page;
    }
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  async stop(): Promise<{ code: number | null; signal: string | null }> {
    this.child.kill('SIGTERM');
    return this.ended;
  }
}

/** What the agent itself says in a journal, a line each. */
export function agentTextOf(lines: readonly JournalLine[]): string {
  const own = lines.filter(({ stream }) => stream === 'agent');
  return own.map(({ text }) => text).join('\n');
}

/** The bytes that the script wrote to one of its streams, put together again from its lines. */
export function bytesOf(lines: readonly JournalLine[], stream: 'stdout' | 'stderr'): Buffer {
  return Buffer.concat(
    lines
      .filter((line) => line.stream === stream)
      .flatMap(({ text, base64, partial }) => [
        base64 === undefined ? Buffer.from(text) : Buffer.from(base64, 'base64'),
        Buffer.from(partial ? '' : '\n'),
      ]),
  );
}
