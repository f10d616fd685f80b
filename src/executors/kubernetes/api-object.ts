/**
 * An object of the API as JSON. client-node declares its models as classes, and what is sent and what comes back is
 * never an instance of one.
 */
export type Plain<T> = T extends Date
  ? T
  : T extends readonly (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [Name in keyof T]: Plain<T[Name]> }
      : T;
