/** Looks for secrets where none may be: in every form that a program might write one down in. */
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'

export interface Canary {
  name: string
  value: string
}

export interface Hit {
  canary: string
  form: string
  /** A file, a process, or the name of an answer. */
  where: string
}

/** Raw, in base64 at each of its three alignments, in hex, in a URL, in JSON: the bytes to look for. */
export function formsOf(value: string): [string, Buffer][] {
  const bytes = Buffer.from(value)
  const aligned = [0, 1, 2].map((before): [string, Buffer] => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64')
    // Characters at the edges hold bits of the neighbours.
    return [
      `base64+${before}`,
      Buffer.from(text.slice(before === 0 ? 0 : 4, Math.floor(((before + bytes.length) * 4) / 3 / 4) * 4 - 4)),
    ]
  })
  const json = JSON.stringify(value).slice(1, -1)
  const all: [string, Buffer][] = [
    ['raw', bytes],
    ...aligned,
    ...aligned.map(([form, text]): [string, Buffer] => [
      form.replace('base64', 'base64url'),
      Buffer.from(text.toString().replaceAll('+', '-').replaceAll('/', '_')),
    ]),
    ['hex', Buffer.from(bytes.toString('hex'))],
    ['HEX', Buffer.from(bytes.toString('hex').toUpperCase())],
    ['url', Buffer.from(encodeURIComponent(value))],
    ['json', Buffer.from(json)],
    ['json in json', Buffer.from(JSON.stringify(json).slice(1, -1))],
  ]
  return all
}

export function sweeper(canaries: readonly Canary[]): Sweeper {
  const wanted = canaries.map(({ name, value }) => ({ name, forms: formsOf(value) }))
  const look = (where: string, bytes: Buffer, except: readonly string[] = []): Hit[] =>
    wanted
      .filter(({ name }) => !except.includes(name))
      .flatMap(({ name, forms }) =>
        forms.filter(([, form]) => bytes.includes(form)).map(([form]) => ({ canary: name, form, where })),
      )
  return {
    text: (where, text) => look(where, Buffer.from(text)),
    async folder(path, allowed = {}) {
      const entries = await readdir(path, { recursive: true, withFileTypes: true })
      const hits: Hit[] = []
      for (const entry of entries.filter((one) => one.isFile())) {
        const file = join(entry.parentPath, entry.name)
        const name = relative(path, file)
        // Files come and go while the daemon works.
        const bytes = await readFile(file).catch(() => Buffer.alloc(0))
        hits.push(...look(name, bytes, allowed[name]))
      }
      return hits
    },
    async processes(skip) {
      const hits: Hit[] = []
      for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
        const read = (name: string): Promise<Buffer> => readFile(`/proc/${pid}/${name}`).catch(() => Buffer.alloc(0))
        const [environ, cmdline] = [await read('environ'), await read('cmdline')]
        hits.push(...look(`process ${pid} argv`, cmdline))
        if (!skip(environ)) hits.push(...look(`process ${pid} env`, environ))
      }
      return hits
    },
  }
}

export interface Sweeper {
  text(where: string, text: string): Hit[]
  /** Every file below. `allowed`: relative path → names of canaries that belong there. */
  folder(path: string, allowed?: Readonly<Record<string, string[]>>): Promise<Hit[]>
  /** Every process of this machine that can be read. `skip`: whose environment is its own affair. */
  processes(skip: (environ: Buffer) => boolean): Promise<Hit[]>
}
