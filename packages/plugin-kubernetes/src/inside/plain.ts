/**
 * Copies for images without tar: a shell and the plainest of programs (mkdir, chmod, ln, rm, dd; ls, wc, head, readlink) take the entries one by
 * one. It is slower, some milliseconds a file, and times are not kept.
 */
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { RawExecSession } from '@muster/core'
import { extract, type Header, pack } from 'tar-stream'
import { ApiFailure } from '../api/failure.ts'
import { quote } from '@muster/provider-parts/quote'

/** Exit status of a step that failed: none of the programs' own. */
const FAILED = 47

/**
 * Reads a line that will be the end of each command, then shell text up to such a line, does it, and goes on. The shell takes single bytes, so that
 * a command may have what follows as its input: a file's content, in reads of known size. The last command ends it: an input without it was cut off.
 */
export const TAKE_PLAINLY: string = `
put() {
  rm -f -- "$1" && { _n=$(($3 / 65536)); _r=$(($3 % 65536))
    { [ $_n = 0 ] || dd bs=65536 count=$_n iflag=fullblock; } && { [ $_r = 0 ] || dd bs=$_r count=1 iflag=fullblock; }
  } >"$1" && chmod $2 "$1"
}
IFS= read -r _e
_c=
while IFS= read -r _l; do
  if [ "$_l" = "$_e" ]; then eval "$_c" || exit ${FAILED}; _c=
  else _c="$_c$_l
"; fi
done
exit ${FAILED}`

/** Tells one tree, NAME below the current folder: for each entry \`KIND RIGHTS SIZE LENGTH LENGTH\`, its name, where a link leads, its content. */
export const GIVE_PLAINLY: string = `
LC_ALL=C
tell() {
  _p=$1
  _m=$(ls -ld -- "$1") || exit ${FAILED}
  if [ -h "$1" ]; then _t=$(readlink -- "$1"; echo .); _t=\${_t%??}; echo "l x 0 \${#_p} \${#_t}"; printf '%s%s' "$1" "$_t"
  elif [ -d "$1" ]; then
    echo "d \${_m%% *} 0 \${#_p} 0"; printf '%s' "$1"
    [ -r "$1" ] && [ -x "$1" ] || { echo "$1: Permission denied" >&2; exit ${FAILED}; }
    for _f in "$1"/* "$1"/.[!.]* "$1"/..?*; do if [ -e "$_f" ] || [ -h "$_f" ]; then tell "$_f"; fi; done
  elif [ -f "$1" ]; then
    _s=$(wc -c <"$1") || exit ${FAILED}
    echo "f \${_m%% *} $((_s)) \${#_p} 0"; printf '%s' "$1"; head -c $((_s)) <"$1" || exit ${FAILED}
  fi
}
tell "$1"`

/** A checked tar as what {@link TAKE_PLAINLY} reads. */
export async function* asPlain(tar: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = extract()
  const read = pipeline(Readable.from(tar), reader)
  read.catch(() => undefined)
  // No name of a file has it.
  const end = `#${randomBytes(16).toString('hex')}`
  yield Buffer.from(`${end}\n`)
  for await (const entry of reader) {
    const { header } = entry
    yield Buffer.from(`${commandOf(header)}\n${end}\n`)
    if (header.type === 'file') yield* entry as AsyncIterable<Buffer>
    else entry.resume()
  }
  await read
  yield Buffer.from(`exit 0\n${end}\n`)
}

function commandOf({ name, type, mode, linkname, size }: Header): string {
  const path = quote(`./${name.replace(/\/$/, '')}`)
  const rights = mode.toString(8)
  const above = name.includes('/') ? `mkdir -p -- ${quote(`./${name.replace(/\/[^/]*\/?$/, '')}`)} && ` : ''
  if (type === 'directory') return `mkdir -p -- ${path} && chmod ${rights} ${path}`
  if (type === 'symlink') return `${above}rm -f -- ${path} && ln -s -- ${quote(linkname ?? '')} ${path}`
  if (type === 'link') return `${above}rm -f -- ${path} && ln -- ${quote(`./${linkname ?? ''}`)} ${path}`
  return `${above}put ${path} ${rights} ${size}`
}

/** What {@link GIVE_PLAINLY} tells, as a tar. */
export async function* fromPlain(output: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const out = pack()
  const bytes = createBytes(output)
  const filling = fill(bytes, out).then(
    () => out.finalize(),
    (error: unknown) => out.destroy(error as Error),
  )
  yield* out as AsyncIterable<Uint8Array>
  await filling
}

async function fill(bytes: Bytes, out: ReturnType<typeof pack>): Promise<void> {
  for (let line = await bytes.line(); line !== undefined; line = await bytes.line()) {
    const [, kind, rights = '', ...numbers] = /^([dfl]) (\S+) (\d+) (\d+) (\d+)$/.exec(line) ?? []
    // A file that got shorter while it was read.
    if (kind === undefined) throw broken()
    const [size = 0, nameLength = 0, targetLength = 0] = numbers.map(Number)
    const name = (await bytes.take(nameLength)).toString()
    const linkname = (await bytes.take(targetLength)).toString()
    const header = { name, mode: kind === 'l' ? 0o777 : modeOf(rights), mtime: new Date() }
    if (kind === 'f') {
      const sink = out.entry({ ...header, type: 'file', size })
      await pipeline(Readable.from(bytes.pass(size)), sink)
    } else if (kind === 'd') out.entry({ ...header, name: `${name}/`, type: 'directory' })
    else out.entry({ ...header, type: 'symlink', linkname })
  }
}

/** As `ls -l` shows them: `drwxr-sr-x`. */
function modeOf(rights: string): number {
  const bit = (at: number, letters: string, value: number): number => (letters.includes(rights[at] ?? '-') ? value : 0)
  return [0, 1, 2].reduce(
    (mode, who) => {
      const shift = 6 - 3 * who
      const at = 1 + 3 * who
      return mode | (bit(at, 'r', 4) << shift) | (bit(at + 1, 'w', 2) << shift) | (bit(at + 2, 'xst', 1) << shift)
    },
    bit(3, 'sS', 0o4000) | bit(6, 'sS', 0o2000) | bit(9, 'tT', 0o1000),
  )
}

interface Bytes {
  /** Without its newline; undefined at the end. */
  line(): Promise<string | undefined>
  take(count: number): Promise<Buffer>
  pass(count: number): AsyncGenerator<Buffer>
}

/** The head of an entry is a few numbers. */
const MOST_LINE = 200

function createBytes(source: AsyncIterable<Uint8Array>): Bytes {
  const chunks = source[Symbol.asyncIterator]()
  let held: Buffer = Buffer.alloc(0)
  async function more(): Promise<boolean> {
    const next = await chunks.next()
    if (next.done === true) return false
    held = held.length === 0 ? Buffer.from(next.value) : Buffer.concat([held, next.value])
    return true
  }
  async function* pass(count: number): AsyncGenerator<Buffer> {
    for (let left = count; left > 0;) {
      if (held.length === 0 && !(await more())) throw broken()
      const part = held.subarray(0, left)
      held = held.subarray(part.length)
      left -= part.length
      if (part.length > 0) yield part
    }
  }
  return {
    async line() {
      while (!held.includes(10)) {
        if (held.length > MOST_LINE) throw broken()
        if (!(await more())) {
          if (held.length > 0) throw broken()
          return undefined
        }
      }
      const end = held.indexOf(10)
      const line = held.toString('latin1', 0, end)
      held = held.subarray(end + 1)
      return line
    },
    take: async (count) => Buffer.concat(await Array.fromAsync(pass(count))),
    pass,
  }
}

function broken(): ApiFailure {
  return new ApiFailure('something changed while it was read', { code: 'CHANGED', sent: true })
}

/** Of a session only standard output; what comes beside it is given to `noise`. */
export async function* stdoutOf({ output }: RawExecSession, noise: (text: string) => void): AsyncGenerator<Uint8Array> {
  for await (const { stream, data } of output)
    if (stream === 'stdout') yield data
    else noise(Buffer.from(data).toString())
}
