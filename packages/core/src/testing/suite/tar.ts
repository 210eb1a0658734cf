/** Just enough of tar (POSIX ustar) to make trees for copyIn and to read what copyOut gives. */

export interface TarEntry {
  name: string
  kind: 'file' | 'folder' | 'link'
  mode: number
  content: Buffer
  /** Of a link. */
  target: string
}

const blockBytes = 512
const kinds: Record<string, TarEntry['kind']> = { '0': 'file', '\0': 'file', '5': 'folder', '2': 'link' }

/** One entry; for names up to 255 bytes that can be split at a slash. */
function tarEntry(entry: Partial<TarEntry> & Pick<TarEntry, 'name'>): Buffer {
  const { name, kind = 'file', mode = kind === 'folder' ? 0o755 : 0o644, content = Buffer.alloc(0), target = '' } = entry
  const head = Buffer.alloc(blockBytes)
  const cut = name.length > 100 ? name.lastIndexOf('/', 155) : -1
  head.write(name.slice(cut + 1), 0, 100)
  if (cut > 0) head.write(name.slice(0, cut), 345, 155)
  const octal = (value: number, at: number, length: number): void =>
    void head.write(value.toString(8).padStart(length - 1, '0'), at)
  octal(mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(content.length, 124, 12)
  octal(0, 136, 12)
  head.write('        ', 148)
  head.write({ file: '0', folder: '5', link: '2' }[kind], 156)
  head.write(target, 157, 100)
  head.write('ustar\0' + '00', 257)
  octal(
    head.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  )
  const padding = Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes)
  return Buffer.concat([head, content, padding])
}

export function tarOf(entries: readonly (Partial<TarEntry> & Pick<TarEntry, 'name'>)[]): Buffer {
  return Buffer.concat([...entries.map(tarEntry), Buffer.alloc(2 * blockBytes)])
}

/** Entries of an archive, long names of GNU and pax included. */
export function readTar(archive: Buffer): TarEntry[] {
  const found: TarEntry[] = []
  let longName: string | undefined
  for (let at = 0; at + blockBytes <= archive.length;) {
    const head = archive.subarray(at, at + blockBytes)
    at += blockBytes
    if (head[0] === 0) continue
    const size = Number.parseInt(textAt(head, 124, 12), 8) || 0
    const content = archive.subarray(at, at + size)
    at += Math.ceil(size / blockBytes) * blockBytes
    const type = String.fromCharCode(head[156] ?? 0)
    if (type === 'L') longName = content.toString().replace(/\0+$/, '')
    else if (type === 'x') longName = /\d+ path=(.*)\n/.exec(content.toString())?.[1] ?? longName
    const kind = kinds[type]
    if (kind === undefined) continue
    const prefix = textAt(head, 257, 5) === 'ustar' && head[262] === 0 ? textAt(head, 345, 155) : ''
    const name = longName ?? (prefix === '' ? textAt(head, 0, 100) : `${prefix}/${textAt(head, 0, 100)}`)
    longName = undefined
    found.push({
      name: name.replace(/\/$/, ''),
      kind,
      mode: Number.parseInt(textAt(head, 100, 8), 8) & 0o7777,
      content,
      target: textAt(head, 157, 100),
    })
  }
  return found
}

function textAt(head: Buffer, at: number, length: number): string {
  const end = head.indexOf(0, at)
  return head.toString('utf8', at, end === -1 ? at + length : Math.min(end, at + length)).trim()
}
