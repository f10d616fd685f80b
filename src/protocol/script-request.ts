import type { PodWishes } from './pod-wishes.ts';
import type { Language, ScriptStorage } from './run-order.ts';

/** The body of `PUT /v1/scripts/{ticket}` as far as this version honours it; unknown members are refused. */
export interface ScriptRequest {
  readonly language: Language;
  readonly body: string;
  readonly arguments?: readonly string[];
  readonly files?: readonly ScriptFile[];
  readonly packages?: readonly { readonly id: string; readonly version: string }[];
  readonly variables?: readonly {
    readonly name: string;
    readonly value: string;
    readonly sensitive?: boolean;
  }[];
  readonly isolation?: ScriptIsolation;
  readonly storage?: ScriptStorage;
  readonly deadlineSeconds?: number;
  readonly graceSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly pod?: PodWishes;
}

/** A file of the working directory: its content, or the digest of a blob that was pushed before. */
export type ScriptFile =
  | { readonly path: string; readonly content: string; readonly encoding?: 'utf8' | 'base64' }
  | { readonly path: string; readonly digest: string };

/** `full` excludes every other script of the name while it runs, `none` only those that say `full`. */
export interface ScriptIsolation {
  readonly level: 'none' | 'full';
  readonly name: string;
  readonly timeoutSeconds?: number;
}
