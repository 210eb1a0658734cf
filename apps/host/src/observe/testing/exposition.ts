/** A small reader of Prometheus' text format, strict where the format is: https://prometheus.io/docs/instrumenting/exposition_formats/ */

export interface Family {
  type: string
  help: string
  samples: { name: string; labels: Record<string, string>; value: number }[]
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)/y

/** Errors: a line that is none of the format, a sample without a type, a series that comes twice, a histogram that does not add up. */
export function readExposition(text: string): Map<string, Family> {
  const families = new Map<string, Family>()
  const seen = new Set<string>()
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line)
    if (comment !== null) {
      const [, what, name = '', value = ''] = comment
      const family = families.get(name) ?? { type: '', help: '', samples: [] }
      families.set(name, what === 'TYPE' ? { ...family, type: value } : { ...family, help: value })
      continue
    }
    if (line === '') continue
    const [, name, inner = '', value] = SAMPLE.exec(line) ?? []
    if (name === undefined) throw new Error(`no line of the format: ${line}`)
    const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''))
    if (family === undefined || family.type === '') throw new Error(`a sample without a type: ${line}`)
    const labels = labelsOf(inner)
    const key = `${name}${JSON.stringify(Object.entries(labels).map(String).sort())}`
    if (seen.has(key)) throw new Error(`a series comes twice: ${line}`)
    seen.add(key)
    family.samples.push({ name, labels, value: Number(value) })
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkHistogram(name, family)
  return families
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < text.length) {
    const [, name = '', value = ''] = LABEL.exec(text) ?? []
    if (name === '') throw new Error(`no labels: ${text}`)
    labels[name] = value.replaceAll(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one))
  }
  return labels
}

/** Buckets grow, and the last one is the count. */
function checkHistogram(name: string, { samples }: Family): void {
  for (const { labels, value: count } of samples.filter((one) => one.name === `${name}_count`)) {
    const own = samples.filter(
      (one) => one.name === `${name}_bucket` && Object.entries(labels).every(([key, value]) => one.labels[key] === value),
    )
    const values = own.map((one) => one.value)
    if (own.at(-1)?.labels['le'] !== '+Inf' || values.at(-1) !== count || values.some((one, at) => one < (values[at - 1] ?? 0)))
      throw new Error(`the buckets of ${name} do not add up`)
  }
}

/** The value of one series; undefined when there is none. */
export function sampleOf(families: Map<string, Family>, name: string, labels: Record<string, string> = {}): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''))
  return family?.samples.find(
    (one) =>
      one.name === name &&
      Object.entries(one.labels).length === Object.entries(labels).length &&
      Object.entries(labels).every(([key, value]) => one.labels[key] === value),
  )?.value
}
