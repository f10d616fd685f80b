#!/usr/bin/env -S UV_THREADPOOL_SIZE=64 node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { LongshoreClient } from './client/client.ts';
import { localText } from './client/local-file.ts';
import { pushCommand, type PushArguments } from './client/push-command.ts';
import { runCommand, type RunArguments } from './client/run-command.ts';
import {
  artifactsCommand,
  cancelCommand,
  completeCommand,
  logsCommand,
  statusCommand,
} from './client/script-commands.ts';
import { say, type Terminal } from './client/terminal.ts';
import packageJson from '../package.json' with { type: 'json' };
import { configRows } from './config-schema.ts';
import { defaultTokensFile, environmentValue, loadConfig } from './config.ts';
import { FAILURES } from './protocol/failure-table.ts';
import { Fault } from './protocol/fault.ts';

type RunOptions = Partial<Omit<RunArguments, 'arguments'>>;

interface Connection {
  readonly url: string;
  readonly token?: string;
  readonly tokenFile?: string;
}

const terminal: Terminal = {
  out: process.stdout,
  err: process.stderr,
  isInteractive: process.stderr.isTTY,
};

/** A person at a terminal wants to know soon that no agent is there; a script that runs is waited for longer. */
const PERSON_WAITS_MS = 5000;
/** What a shell says of a command whose reader went away. */
const BROKEN_PIPE = 141;

const EXAMPLES = `
Examples:
  longshore serve --volume /srv/volume
  longshore push web.1.2.3.zip --id web --version 1.2.3
  longshore run deploy.sh --package web@1.2.3 --var TARGET=production -- --verbose
  longshore run --body 'echo hello; exit 3' ; echo $?
  longshore logs --follow 5f3c…

The commands find the agent of this machine and its token by themselves; --url and --token-file name another one.
A script's output goes to stdout and stderr as it came; what the agent says goes to stderr. Exit codes other than the
script's own are listed in docs/reference/failures.md.`;

function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted');
  return Number(text);
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Options that were not given, which commander leaves out. */
const NO_LISTS = { package: [], file: [], var: [], secret: [], secretEnv: [] };

function withConnection(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', 'where the agent listens')
        .env('LONGSHORE_URL')
        .default('http://127.0.0.1:8460'),
    )
    .addOption(new Option('--token <token>', 'token of this server; better a file').env('LONGSHORE_TOKEN'))
    .option('--token-file <file>', 'file with the token, or a tokens file of an agent');
}

async function connect(connection: Connection): Promise<LongshoreClient> {
  const { url } = connection;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
    throw new Fault(
      'REQUEST_INVALID',
      `--url must be http://HOST:PORT or https://HOST:PORT, not ${JSON.stringify(url)}`,
    );
  }
  let isAway = false;
  const retried = ({ message }: Fault): void => {
    if (!isAway) say(terminal, `${message}; trying again for a while`);
    isAway = true;
  };
  return new LongshoreClient({ url, token: await tokenOf(connection), retryForMs: PERSON_WAITS_MS, retried });
}

/** The token that was given, or the first one of a tokens file: that of the agent of this machine by default. */
async function tokenOf({ token, tokenFile }: Connection): Promise<string> {
  if (token !== undefined) return token;
  const file = tokenFile ?? defaultTokensFile();
  const text = await localText(file).catch((error: unknown) => {
    const rule = 'give --token-file FILE or set LONGSHORE_TOKEN';
    throw new Fault('REQUEST_INVALID', `there is no token for the agent in ${file}: ${rule}`, {
      cause: error,
    });
  });
  const lines = text.split('\n').map((line) => line.trim());
  const first = lines.find((line) => line !== '' && !line.startsWith('#'));
  if (first === undefined) throw new Fault('REQUEST_INVALID', `there is no token in ${file}`);
  return first.slice(first.indexOf(':') + 1);
}

async function withClient(
  connection: Connection,
  work: (client: LongshoreClient) => Promise<number>,
): Promise<void> {
  const client = await connect(connection);
  try {
    process.exitCode = await work(client);
  } finally {
    client.close();
  }
}

async function serveCommand(flags: readonly string[]): Promise<void> {
  const config = loadConfig(flags);
  const { serve } = await import('./serve.ts');
  const agent = await serve(config);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void agent.stop());
  process.exitCode = await agent.stopped;
  // A call that hangs on the mount keeps its thread, and an ordinary exit would wait for it for ever.
  if (agent.hasStuckOperations()) process.kill(process.pid, 'SIGKILL');
}

function serveHelp(): string {
  const rows = configRows().map(({ flag, says, initial }) =>
    wrapped(`  ${flag.padEnd(30)} `, `${says}${initial && ` (default: ${initial})`}`),
  );
  const head = 'Settings, each also as LONGSHORE_… in the environment or in the JSON file of --config FILE:';
  return `\n${head}\n${rows.join('\n')}\n\nTheir rules are in docs/reference/configuration.md.`;
}

/** Puts `text` behind `head`, in lines of at most 100 characters. */
function wrapped(head: string, text: string): string {
  const lines = [head];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line.length + word.length < 100)
      lines[lines.length - 1] = line.endsWith(' ') ? line + word : `${line} ${word}`;
    else lines.push(' '.repeat(head.length) + word);
  }
  return lines.join('\n');
}

function program(): Command {
  const top = new Command('longshore')
    .version(packageJson.version)
    // `push --version` is the version of a package.
    .enablePositionalOptions()
    .description(
      'Runs the scripts of a deployment server next to a shared volume, and says truthfully how each ended.',
    )
    .addHelpText('after', EXAMPLES)
    .configureOutput({ writeOut: (text) => process.stdout.write(text) })
    .exitOverride();
  top
    .command('serve')
    .description('run the agent')
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[settings...]')
    .addHelpText('after', serveHelp)
    .action((_settings: string[], _options: object, command: Command) => serveCommand(command.args));
  withConnection(top.command('push'))
    .description('make sure that the agent has a package; sends nothing where it has it')
    .argument('<file>', 'the package, for example web.1.2.3.zip')
    .requiredOption('--id <id>', 'id of the package')
    .requiredOption('--version <version>', 'version of the package')
    .action((file: string, options: Connection & Omit<PushArguments, 'file'>) =>
      withClient(options, (client) => pushCommand(client, { ...options, file }, terminal)),
    );
  addRun(top);
  addScriptCommands(top);
  return top;
}

function addRun(top: Command): void {
  withConnection(top.command('run'))
    .description('start a script, show its journal, leave with its exit code')
    .argument('[script]', 'file with the script')
    .argument('[arguments...]', 'arguments of the script; put -- in front of those that begin with a dash')
    .option('--body <text>', 'the script itself instead of a file')
    .option('--package <id@version>', 'package that the script gets (repeatable)', collect)
    .option('--file <path=local>', 'file in the working directory of the script (repeatable)', collect)
    .option('--var <name=value>', 'variable, as environment variable of the script (repeatable)', collect)
    .option('--secret <name=file>', 'sensitive variable, its value read from a file (repeatable)', collect)
    .option(
      '--secret-env <name[=variable]>',
      'sensitive variable, its value taken from the environment (repeatable)',
      collect,
    )
    .option('--isolation <name>', 'run alone among the scripts of this name')
    .option('--isolation-timeout <seconds>', 'longest wait for that', count)
    .option('--deadline <seconds>', 'end the script after this long', count)
    .option('--grace <seconds>', 'time between TERM and KILL', count)
    .option('--ticket <ticket>', 'name of this run; the same name again finds the same run')
    .option('--keep', 'leave the finished script on the volume')
    .option('--json', 'write every piece of news as a line of JSON')
    .action((script: string | undefined, rest: string[], options: Connection & RunOptions) => {
      const given =
        options.body === undefined ? { script, arguments: rest } : { arguments: bodyArguments(script, rest) };
      const interrupts = (interrupted: () => void): void => void process.on('SIGINT', interrupted);
      return withClient(options, (client) =>
        runCommand(client, { ...NO_LISTS, ...options, ...given }, { terminal, interrupts, environmentValue }),
      );
    });
}

/** With --body there is no script file, so the first word is an argument too. */
function bodyArguments(first: string | undefined, rest: readonly string[]): readonly string[] {
  return first === undefined ? rest : [first, ...rest];
}

function addScriptCommands(top: Command): void {
  withConnection(top.command('logs'))
    .description('show the journal of a script')
    .argument('<ticket>')
    .option('-f, --follow', 'go on to the end, and leave with the exit code of the script')
    .option('--json', 'write lines of JSON')
    .action((ticket: string, options: Connection & { follow?: boolean; json?: boolean }) =>
      withClient(options, (client) =>
        logsCommand(
          client,
          { ticket, follow: options.follow ?? false, json: options.json ?? false },
          terminal,
        ),
      ),
    );
  withConnection(top.command('status'))
    .description('show state and outcome of a script')
    .argument('<ticket>')
    .option('--json', 'write JSON')
    .action((ticket: string, options: Connection & { json?: boolean }) =>
      withClient(options, (client) =>
        statusCommand(client, { ticket, json: options.json ?? false }, terminal),
      ),
    );
  withConnection(top.command('cancel'))
    .description('end a script: TERM, grace, KILL; one that has not started never will')
    .argument('<ticket>')
    .option('--wait', 'show the journal to its end')
    .action((ticket: string, options: Connection & { wait?: boolean }) =>
      withClient(options, (client) =>
        cancelCommand(client, { ticket, wait: options.wait ?? false }, terminal),
      ),
    );
  withConnection(top.command('artifacts'))
    .description('list what a finished script left, or write one of its files to stdout')
    .argument('<ticket>')
    .argument('[name]', 'a file of the list')
    .option('--json', 'write lines of JSON')
    .action((ticket: string, name: string | undefined, options: Connection & { json?: boolean }) =>
      withClient(options, (client) =>
        artifactsCommand(client, { ticket, name, json: options.json ?? false }, terminal),
      ),
    );
  withConnection(top.command('complete'))
    .description('remove what a finished script left')
    .argument('<ticket>')
    .action((ticket: string, options: Connection) =>
      withClient(options, (client) => completeCommand(client, ticket, terminal)),
    );
}

/** Says an error as one sentence that a person can act on, and returns the exit code. */
function told(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : FAILURES.REQUEST_INVALID.exit;
  if (error instanceof Fault) {
    process.stderr.write(`longshore: ${error.message} (${error.code})\n`);
    return FAILURES[error.code].exit;
  }
  process.stderr.write(
    `longshore: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return FAILURES.AGENT_FAILED.exit;
}

process.stdout.on('error', (error: Error) => {
  // `longshore logs … | head`: nobody reads any more. The script goes on.
  if ('code' in error && error.code === 'EPIPE') process.exit(BROKEN_PIPE);
  throw error;
});
try {
  await program().parseAsync(process.argv);
} catch (error) {
  process.exitCode = told(error);
}
