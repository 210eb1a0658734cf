/** The configuration file of a daemon, made of a base that an operator writes and of pools from elsewhere: {@link openPoolsFile}. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { parse, parseDocument } from 'yaml'
import type { PoolEntry } from '../objects.ts'

/** The base cannot be read, or is no configuration. */
class BaseFault extends Error {
  override readonly name = 'BaseFault'
}

export interface Base {
  text: string
  /** Names of the pools in it. */
  pools: ReadonlySet<string>
}

export interface PoolsFile {
  readonly path: string
  /** Error: BaseFault. */
  base(): Promise<Base>
  /** The text of the file, with these pools beside those of the base. */
  compose(base: Base, pools: ReadonlyMap<string, PoolEntry>): string
  /** Makes the file, without pools of ours, where there is none: no daemon starts without one. Answers what is in it. */
  make(): Promise<string>
  /** The same, and ends a trial that nobody ended. */
  begin(): Promise<string>
  /** The pools in such a text that are not those of the base. */
  poolsIn(text: string, base: Base): Map<string, PoolEntry>
  /** Puts a text there on trial. Whatever happens before {@link keep}, the next {@link recover} puts back what was there. */
  tryOut(text: string): Promise<void>
  keep(): Promise<void>
  /** Ends a trial that nobody ended; nothing where there is none. */
  recover(): Promise<void>
}

const HEAD = ' Written by muster-kubernetes from its base file and the WorkerPools of a cluster: what is changed here is lost.'

export function openPoolsFile(path: string, basePath: string): PoolsFile {
  /** What was there before a trial; empty when nothing was. */
  const before = `${path}.before`
  const readOr = (file: string): Promise<string | undefined> =>
    readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
  /** Whole or not at all: a daemon may read it at any moment. */
  const replace = async (file: string, text: string): Promise<void> => {
    // Others may wait for their turn beside this one, and make the first file too.
    const part = `${file}.${process.pid}.part`
    await writeFile(part, text, { mode: 0o600 })
    await rename(part, file)
  }

  const file: PoolsFile = {
    path,
    async base() {
      const text = await readFile(basePath, 'utf8').catch((error: Error) => {
        throw new BaseFault(`the base ${basePath} cannot be read: ${error.message}`)
      })
      const document = parseDocument(text)
      const [fault] = document.errors
      if (fault !== undefined) throw new BaseFault(`the base ${basePath} is not YAML: ${fault.message}`)
      const value: unknown = document.toJS()
      if (!isTree(value)) throw new BaseFault(`the base ${basePath} is no configuration: it has no keys`)
      return { text, pools: new Set(Object.keys(isTree(value['pools']) ? value['pools'] : {})) }
    },
    compose({ text, pools: own }, pools) {
      const document = parseDocument(text)
      document.commentBefore = HEAD
      if (own.size === 0) document.set('pools', document.createNode({}))
      for (const [name, entry] of [...pools].sort(([a], [b]) => (a < b ? -1 : 1)))
        document.setIn(['pools', name], document.createNode(entry))
      return document.toString({ lineWidth: 0 })
    },
    async begin() {
      await file.recover()
      return file.make()
    },
    async make() {
      const text = await readOr(path)
      if (text !== undefined) return text
      const fresh = file.compose(await file.base(), new Map())
      await replace(path, fresh)
      return fresh
    },
    poolsIn(text, base) {
      const value: unknown = parse(text)
      const pools = isTree(value) && isTree(value['pools']) ? value['pools'] : {}
      return new Map(Object.entries(pools).filter(([name]) => !base.pools.has(name)) as [string, PoolEntry][])
    },
    async tryOut(text) {
      await replace(before, (await readOr(path)) ?? '')
      await replace(path, text)
    },
    keep: () => rm(before, { force: true }),
    async recover() {
      const was = await readOr(before)
      if (was === undefined) return
      if (was === '') await rm(before)
      else await rename(before, path)
    },
  }
  return file
}

function isTree(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
