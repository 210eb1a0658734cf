/** Who a container's user is in numbers: an engine takes names, a tar has numbers. Pure. */

export interface Ids {
  uid: number
  gid: number
}

/** `user` as the engine takes it: empty, `name`, `uid`, either with `:group`. Undefined when a name is not in the files. */
export function idsOf(user: string, files: { passwd: string; group: string }): Ids | undefined {
  const [who = '', which] = user.split(':')
  const account = who === '' ? { uid: 0, gid: 0 } : accountOf(who, files.passwd)
  if (account === undefined) return undefined
  if (which === undefined || which === '') return account
  const gid = numberOf(which) ?? numberOf(lineOf(files.group, (fields) => fields[0] === which)?.[2] ?? '')
  return gid === undefined ? undefined : { uid: account.uid, gid }
}

/** Must the files be read to know? */
export function isNumeric(user: string): boolean {
  return user === '' || /^\d+:\d+$/.test(user) || user === '0' || user === 'root'
}

function accountOf(who: string, passwd: string): Ids | undefined {
  const uid = numberOf(who)
  const fields = lineOf(passwd, (line) => (uid === undefined ? line[0] === who : line[2] === who))
  if (fields === undefined) return uid === undefined ? (who === 'root' ? { uid: 0, gid: 0 } : undefined) : { uid, gid: 0 }
  return { uid: numberOf(fields[2] ?? '') ?? 0, gid: numberOf(fields[3] ?? '') ?? 0 }
}

function lineOf(file: string, fits: (fields: string[]) => boolean): string[] | undefined {
  return file
    .split('\n')
    .map((line) => line.split(':'))
    .find(fits)
}

function numberOf(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined
}
