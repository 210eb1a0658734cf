/** One word of a shell, whatever is in it: a command that a refusal tells is typed as it stands, and a registry may have named part of it. */
export function word(text: string): string {
  return /^[\w@%+=:,./^-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
