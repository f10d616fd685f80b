/** Decimal and binary suffixes as powers; the sub-units below 1 are counted in 1e-9. */
const SUFFIXES: Readonly<Record<string, bigint>> = {
  n: 1n,
  u: 10n ** 3n,
  m: 10n ** 6n,
  '': 10n ** 9n,
  k: 10n ** 12n,
  M: 10n ** 15n,
  G: 10n ** 18n,
  T: 10n ** 21n,
  P: 10n ** 24n,
  E: 10n ** 27n,
  Ki: 10n ** 9n * 2n ** 10n,
  Mi: 10n ** 9n * 2n ** 20n,
  Gi: 10n ** 9n * 2n ** 30n,
  Ti: 10n ** 9n * 2n ** 40n,
  Pi: 10n ** 9n * 2n ** 50n,
  Ei: 10n ** 9n * 2n ** 60n,
};

const QUANTITY = /^\+?(\d*)(?:\.(\d*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?$/;
const MAX_LENGTH = 64;

/**
 * Reads a quantity of Kubernetes as a number of billionths, rounded up; undefined where it is none, or is negative.
 *
 * Rounded up as the API server does, so that what is compared is never less than what the pod gets.
 *
 * Source: Kubernetes apimachinery/pkg/api/resource/quantity.go, the grammar above `type Quantity`.
 */
export function parseQuantity(text: string): bigint | undefined {
  const match = text.length <= MAX_LENGTH ? QUANTITY.exec(text) : null;
  if (match === null) return undefined;
  const [, whole = '', fraction = '', suffix = '', exponent] = match;
  if (whole === '' && fraction === '') return undefined;
  const digits = BigInt(`${whole}${fraction}`);
  const tens = Number(exponent ?? 0) - fraction.length;
  const unit = SUFFIXES[suffix] ?? 1n;
  return tens >= 0 ? digits * unit * 10n ** BigInt(tens) : dividedUp(digits * unit, 10n ** BigInt(-tens));
}

/** Tells whether `left` is more than `right`; false where one of them is no quantity. */
export function exceeds(left: string, right: string): boolean {
  const [a, b] = [parseQuantity(left), parseQuantity(right)];
  return a !== undefined && b !== undefined && a > b;
}

function dividedUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}
