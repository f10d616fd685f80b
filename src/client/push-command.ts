import { Transform, type Readable } from 'node:stream';
import { SingleBar } from 'cli-progress';
import type { LongshoreClient, Pushed } from './client.ts';
import { localFile, type LocalFile } from './local-file.ts';
import { say, type Terminal } from './terminal.ts';

export interface PushArguments {
  readonly file: string;
  readonly id: string;
  readonly version: string;
}

const SAYS: Readonly<Record<Pushed, string>> = {
  created: 'pushed',
  same: 'pushed, and the agent had these bytes already',
  'there-already': 'nothing to send: the agent has these bytes already',
};

/** Pushes a local file as a package; shows a progress bar where somebody watches. */
export async function pushCommand(
  client: LongshoreClient,
  push: PushArguments,
  terminal: Terminal,
): Promise<number> {
  const file = await localFile(push.file);
  const fileName = file.path.split('/').at(-1) ?? file.path;
  const { id, version } = push;
  const bar = terminal.isInteractive ? progressBar(terminal, file) : undefined;
  try {
    const { digest, size } = file;
    const open = (): Readable => (bar ? counted(file.open(), bar) : file.open());
    const pushed = await client.push({ id, version, fileName, digest, size, open });
    bar?.stop();
    say(terminal, `${id} ${version}: ${SAYS[pushed]} (${file.size} bytes, sha256:${file.digest})`);
    return 0;
  } finally {
    bar?.stop();
  }
}

function progressBar(terminal: Terminal, file: LocalFile): SingleBar {
  const format = 'pushing [{bar}] {percentage}% | {value}/{total} bytes | {eta_formatted} left';
  const bar = new SingleBar({ format, stream: terminal.err, hideCursor: true, clearOnComplete: true });
  bar.start(file.size, 0);
  return bar;
}

/** Counts what goes through; an upload that is tried again counts from the start. */
function counted(source: Readable, bar: SingleBar): Readable {
  bar.update(0);
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bar.increment(chunk.length);
      done(null, chunk);
    },
  });
  source.on('error', (error) => counter.destroy(error));
  counter.on('close', () => source.destroy());
  return source.pipe(counter);
}
