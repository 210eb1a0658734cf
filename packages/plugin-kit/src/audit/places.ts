/** From a line of the bundle that ran to the line of the source that the author wrote. */
import { SourceMap, type SourceMapPayload } from 'node:module'
import { dirname, join, relative } from 'node:path'
import type { Artifact } from '../artifact.ts'
import type { AuthorFolder } from '../author.ts'
import { bundleOf } from '../build.ts'

/** Places of the bundle itself, where the sources do not make these very bytes. */
export async function sourcesOf(author: AuthorFolder, { files }: Artifact, source?: string): Promise<(place: string) => string> {
  const built = await bundleOf(author, source).catch(() => undefined)
  const isSame = built !== undefined && files.get(author.entry)?.equals(built.code) === true
  const map = isSame ? new SourceMap(JSON.parse(built.map) as SourceMapPayload) : undefined
  return (place) => {
    const { path = place, line, column } = /^(?<path>.*):(?<line>\d+):(?<column>\d+)$/.exec(place)?.groups ?? {}
    const shown = path.endsWith(`/${author.entry}`) ? author.entry : path
    if (map === undefined || shown === path) return `${shown}:${line}:${column}`
    const origin = map.findOrigin(Number(line), Number(column))
    if (!('fileName' in origin)) return `${shown}:${line}:${column}`
    const file = relative(author.folder, join(author.folder, dirname(author.entry), origin.fileName))
    return `${file}:${origin.lineNumber}:${origin.columnNumber}`
  }
}
