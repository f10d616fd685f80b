declare const idBrand: unique symbol;
declare const versionBrand: unique symbol;

export type PackageId = string & { readonly [idBrand]: true };
export type PackageVersion = string & { readonly [versionBrand]: true };

export const PACKAGE_ID_RULE =
  '1 to 100 of the characters A-Z a-z 0-9 . _ - with a letter, a digit or _ first and last, and no ".." inside';
export const PACKAGE_VERSION_RULE =
  '1 to 100 of the characters A-Z a-z 0-9 . _ + - with a letter or a digit first and last, and no ".." inside';
export const EXTENSION_RULE =
  'a file name whose extension has at most 20 of the characters A-Z a-z 0-9 . after a dot';

const ID = /^(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?$/;
const VERSION = /^(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,98}[A-Za-z0-9])?$/;
const COMPOUND_EXTENSION = /\.tar\.(?:gz|bz2|bz|xz|zst|Z)$/i;
const EXTENSION = /\.[A-Za-z0-9]{1,20}$/;

/** Returns `text` as a package id, or undefined where it breaks PACKAGE_ID_RULE. */
export function parsePackageId(text: string): PackageId | undefined {
  return ID.test(text) ? (text as PackageId) : undefined;
}

/** Returns `text` as a package version, or undefined where it breaks PACKAGE_VERSION_RULE. */
export function parsePackageVersion(text: string): PackageVersion | undefined {
  return VERSION.test(text) ? (text as PackageVersion) : undefined;
}

/**
 * Returns the extension of a pushed file with its dot (`.zip`, `.tar.gz`), or '' where the name has none.
 *
 * Only this much of a client's file name is ever used, so that a name can never choose a place on the volume.
 */
export function extensionOf(fileName: string): string {
  return COMPOUND_EXTENSION.exec(fileName)?.[0] ?? EXTENSION.exec(fileName)?.[0] ?? '';
}
