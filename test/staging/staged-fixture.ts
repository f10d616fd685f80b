import { parsePackageId, parsePackageVersion } from '../../src/protocol/package-name.ts';
import { parseRelativePath } from '../../src/protocol/relative-path.ts';
import { parseTicket, scriptKeyFor } from '../../src/protocol/ticket.ts';
import type { PlannedFile } from '../../src/staging/workspace.ts';

function sure<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the fixture breaks a rule');
  return value;
}

export const KEY = scriptKeyFor('server', sure(parseTicket('killed')));
export const PACKAGE = { id: sure(parsePackageId('web')), version: sure(parsePackageVersion('1.0')) };
export const SCRIPT = Buffer.from('true\n');

export const FILES: readonly PlannedFile[] = ['conf/app.json', 'readme'].map((path) => ({
  path: sure(parseRelativePath(path)),
  content: Buffer.from(path),
}));

/** More than one batch of the upload writer, and the same in every process. */
export function packageBytes(): Buffer {
  return Buffer.alloc(600_000, 'package ');
}
