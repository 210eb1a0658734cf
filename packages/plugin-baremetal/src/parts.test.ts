/** Small parts without processes: the system's errors, `/proc`, tars, ports, users, PATH. */
import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { errorTable, toLocalError } from './errors.ts'
import { closedTo, findCommand, install } from './files.ts'
import { ownHosts } from './forward.ts'
import { bootId, draftName, isAlive, isDraftOfLiving, parseIdentity, parseStat, selfIdentity, statOf } from './proc.ts'
import { cpuSeconds } from './stats.ts'
import { workerPath } from './tools.ts'
import { giveBack, openUsers } from './user.ts'

let dir: string

beforeEach(async () => {
  // A temporary folder of its user alone lies behind a closed door, and some of these look at doors.
  const open = (await closedTo(tmpdir())) === undefined ? tmpdir() : '/tmp'
  dir = await mkdtemp(join(open, 'muster-parts-'))
})

afterEach(async () => {
  await rm(dir, { recursive: true, force: true })
})

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: something`), { code })
}

describe('errors', () => {
  test.each(errorTable.flatMap(({ system, code, hint }) => system.map((name) => [name, code, hint] as const)))(
    '%s is %s',
    (name, code, hint) => {
      const error = toLocalError(systemError(name), 'do it') as ProviderError
      expect(error).toMatchObject({ code, hint, effect: 'possible' })
      expect(error.message).toContain('cannot do it')
    },
  )

  test('no code is in two rows', () => {
    const all = errorTable.flatMap(({ system }) => system)
    expect(new Set(all).size).toBe(all.length)
  })

  test('an unknown one is internal; aborts and our own pass', () => {
    expect(toLocalError(systemError('EODD'), 'do it', 'none')).toMatchObject({ code: 'internal', effect: 'none' })
    const abort = new DOMException('stop', 'AbortError')
    expect(toLocalError(abort, 'do it')).toBe(abort)
    const own = new ProviderError('conflict', 'x')
    expect(toLocalError(own, 'do it')).toBe(own)
    expect(toLocalError('text', 'do it')).toBe('text')
  })
})

describe('/proc', () => {
  test('a name with brackets and spaces does not move the fields', () => {
    const rest = Array.from({ length: 50 }, (_, index) => String(index + 4))
    const stat = parseStat(`123 (a) R (b c) S ${rest.join(' ')}`)
    expect(stat).toEqual({ state: 'S', start: '22', cpuTicks: 14 + 15 + 16 + 17, rssPages: 24 })
  })

  test('a pid that is used again is another process', async () => {
    const boot = await bootId()
    const self = await selfIdentity(boot)
    expect(await isAlive(self, boot)).toBe(true)
    expect(await isAlive({ ...self, start: String(Number(self.start) + 1) }, boot)).toBe(false)
    expect(await isAlive(self, 'another boot')).toBe(false)
    expect(await statOf(2 ** 30)).toBeUndefined()
    expect(parseIdentity(`${self.pid}.${self.start}.${boot}`)).toEqual(self)
    expect(parseIdentity('nonsense')).toBeUndefined()
    expect(await isDraftOfLiving(`x.${draftName(self)}`, boot)).toBe(true)
    expect(await isDraftOfLiving(`x.${draftName({ ...self, start: '1' })}`, boot)).toBe(false)
  })

  describe('where a server of a worker answers', () => {
    const mine = 60_601
    const other = 60_602
    const v4 = { loopback: '0100007F', any: '00000000', second: '0200007F' }
    const v6 = {
      loopback: '00000000000000000000000001000000',
      any: '00000000000000000000000000000000',
      mapped: '0000000000000000FFFF00000100007F',
      mappedAny: '0000000000000000FFFF000000000000',
    }
    const line = (address: string, uid: number, rest = '00000000:0000 0A'): string =>
      `   0: ${address}:1CFC ${rest} 00000000:00000000 00:00000000 00000000 ${uid}        0 1 1 0 100 0 0 10 0`
    const hosts = ([tcp = [], tcp6 = []]: string[][]): string[] => {
      const heading = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
      const table = (lines: string[]): string => [heading, ...lines, ''].join('\n')
      return ownHosts({ tcp: table(tcp), tcp6: table(tcp6) }, { port: 7420, uid: mine })
    }

    test.each([
      ['the loopback of IPv4', [[line(v4.loopback, mine)], []], ['127.0.0.1']],
      ['all of IPv4', [[line(v4.any, mine)], []], ['127.0.0.1']],
      ['the loopback of IPv6', [[], [line(v6.loopback, mine)]], ['::1']],
      ['both loopbacks', [[line(v4.loopback, mine)], [line(v6.loopback, mine)]], ['127.0.0.1', '::1']],
      ['all, which may be all of IPv4 too', [[], [line(v6.any, mine)]], ['127.0.0.1', '::1']],
      ['the loopback of IPv4 by a socket of IPv6', [[], [line(v6.mapped, mine)]], ['127.0.0.1']],
      ['all of IPv4 by a socket of IPv6', [[], [line(v6.mappedAny, mine)]], ['127.0.0.1']],
    ])('%s', (_, tables, expected) => {
      expect(hosts(tables)).toEqual(expected)
    })

    test.each([
      ['on the loopback of IPv4', [[line(v4.loopback, other)], [line(v6.loopback, mine)]], ['::1']],
      ['on all of IPv4', [[line(v4.any, other)], [line(v6.any, mine)]], ['::1']],
      ['on the loopback of IPv4 by a socket of IPv6', [[], [line(v6.mapped, other), line(v6.loopback, mine)]], ['::1']],
      ['on the loopback of IPv6', [[line(v4.any, mine)], [line(v6.loopback, other)]], ['127.0.0.1']],
      ['on the loopback, before all', [[line(v4.any, mine), line(v4.loopback, other)], []], []],
      ['on all of IPv6, which may be all of IPv4 too', [[line(v4.any, mine)], [line(v6.any, other)]], []],
      ['on the same address by another device', [[line(v4.loopback, mine), line(v4.loopback, other)], []], []],
      ['beside an address that is no loopback', [[line(v4.second, mine), line(v4.loopback, other)], []], []],
      ['alone', [[line(v4.loopback, other)], [line(v6.any, other)]], []],
    ])('not where somebody else is: %s', (_, tables, expected) => {
      expect(hosts(tables)).toEqual(expected)
    })

    test('not where nobody listens, nor on another port', () => {
      expect(hosts([[line(v4.loopback, mine, '0100007F:1CFD 01')]])).toEqual([])
      expect(hosts([[line(v4.loopback, mine).replace('1CFC', '1CFD')]])).toEqual([])
    })
  })

  test('processor time of both versions', () => {
    expect(cpuSeconds('2500000000\n', 1)).toBe(2.5)
    expect(cpuSeconds('usage_usec 2500000\nuser_usec 1\n', 2)).toBe(2.5)
    expect(cpuSeconds('other', 2)).toBeUndefined()
  })
})

describe('the users of workers', () => {
  // No process of this machine has these.
  const range = { from: 1_900_000_000, to: 1_900_000_002 }
  const open = async (root = dir): ReturnType<typeof openUsers> =>
    await openUsers({ range, ledger: join(dir, 'ledger'), root, self: await selfIdentity(await bootId()) })

  test('each is given once, and again when it was given back', async () => {
    const users = await open()
    await mkdir(join(dir, 'workers/a'), { recursive: true })
    await mkdir(join(dir, 'workers/b'))
    await mkdir(join(dir, 'workers/c'))
    const taken = await Promise.all(['a', 'b', 'c'].map((id) => users.take(id)))
    expect(taken.map(({ uid }) => uid).sort((a, b) => a - b)).toEqual([1_900_000_000, 1_900_000_001, 1_900_000_002])
    await expect(users.take('d')).rejects.toMatchObject({ code: 'capacity', effect: 'none' })
    expect(await users.count()).toEqual({ free: 0, total: 3 })
    const [first] = taken
    if (first === undefined) throw new Error('none was taken')
    await giveBack(first)
    await giveBack(first)
    expect((await users.take('d')).uid).toBe(first.uid)
  })

  test('one whose worker is nowhere any more is given to the next; one that is being prepared is not', async () => {
    const users = await open()
    await mkdir(join(dir, 'making/a.draft'), { recursive: true })
    await mkdir(join(dir, 'workers/b'), { recursive: true })
    await users.take('a')
    await users.take('b')
    const third = await users.take('c')
    expect((await users.take('d')).uid).toBe(third.uid)
    await rm(join(dir, 'workers/b'), { recursive: true })
    await rm(join(dir, 'making/a.draft'), { recursive: true })
    await open()
    expect(await readdir(join(dir, 'ledger'))).toEqual([])
  })
})

describe('paths', () => {
  test('the first closed folder on a way', async () => {
    await mkdir(join(dir, 'a/b'), { recursive: true })
    await chmod(dir, 0o755)
    await chmod(join(dir, 'a'), 0o750)
    expect(await closedTo(join(dir, 'a/b'))).toBe(join(dir, 'a'))
    await chmod(join(dir, 'a'), 0o711)
    await chmod(join(dir, 'a/b'), 0o711)
    expect(await closedTo(join(dir, 'a/b'))).toBeUndefined()
  })

  test('a command is found as a shell finds it', async () => {
    await mkdir(join(dir, 'one/tool'), { recursive: true })
    await mkdir(join(dir, 'two'))
    await writeFile(join(dir, 'two/tool'), '', { mode: 0o755 })
    expect(await findCommand('tool', `::${dir}/one:${dir}/two`)).toBe(join(dir, 'two/tool'))
    expect(await findCommand('tool', `${dir}/one`)).toBeUndefined()
  })

  test('a file is installed whole, once', async () => {
    const path = join(dir, 'script')
    await install(path, 'text', 0o644)
    const { ino } = await stat(path)
    await install(path, 'text', 0o644)
    expect((await stat(path)).ino).toBe(ino)
    expect(await readdir(dir)).toEqual(['script'])
  })

  test('one that cannot be is told by its own name, in the same words each time', async () => {
    const path = join(dir, 'none/script')
    const told = (): Promise<string> => install(path, 'text', 0o644).then(String, (error: Error) => error.message)
    expect(await told()).toBe(`ENOENT: no such file or directory, open '${path}'`)
    expect(await told()).toBe(await told())
  })

  test('the PATH of workers', async () => {
    await chmod(dir, 0o755)
    for (const name of ['open', 'closed']) {
      await mkdir(join(dir, name), { mode: 0o755 })
      await writeFile(join(dir, name, 'node'), name, { mode: 0o755 })
      await chmod(join(dir, name, 'node'), 0o755)
    }
    await chmod(join(dir, 'closed'), 0o700)
    await symlink(join(dir, 'closed'), join(dir, 'link'))
    const [open, closed, tools] = [join(dir, 'open'), join(dir, 'closed'), join(dir, 'tools')]
    const given = { node: join(open, 'node'), folder: tools }
    expect(await workerPath({ ...given, path: `${closed}:${open}:rel`, isolated: false })).toBe(`${closed}:${open}:${open}`)
    expect(await workerPath({ ...given, path: `${open}:${closed}:${dir}/none`, isolated: true })).toBe(`${open}:${open}`)
    expect(await workerPath({ ...given, path: `${dir}/link:${open}`, isolated: true })).toBe(`${tools}:${open}`)
    const { ino } = await stat(join(tools, 'node'))
    expect(ino).toBe((await stat(join(closed, 'node'))).ino)
    // A private program is copied, and the copy is for all.
    await chmod(join(closed, 'node'), 0o700)
    await rm(join(tools, 'node'))
    await workerPath({ ...given, path: closed, isolated: true })
    expect((await stat(join(tools, 'node'))).mode & 0o777).toBe(0o755)
  })
})
