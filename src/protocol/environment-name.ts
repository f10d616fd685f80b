/**
 * Names the environment variable that carries the variable `name` of a script.
 *
 * Every character outside A-Z a-z 0-9 _ becomes `_`, and a digit in front gets one before it: `Db.Password` is
 * `Db_Password`. Two variables can come to one name; whoever accepts them refuses that.
 */
export function environmentNameFor(name: string): string {
  return name.replace(/[^A-Za-z0-9_]/gu, '_').replace(/^(?=[0-9])/, '_');
}
