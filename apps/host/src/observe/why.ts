/** Decisions as an engineer reads them: when, what, by which rule, because of what, and what would change it. Pure. */

export interface WhyDecision {
  at: string
  rule: string
  decision: string
  pool?: string
  provider?: string
  worker?: string
  lease?: string
  run?: string
  inputs: Record<string, unknown>
  change: string
}

export interface WhySubject {
  kind: 'worker' | 'lease' | 'run' | 'pool' | 'provider'
  id: string
}

/** Longer values are cut: `--json` has them whole. */
const MOST_VALUE = 240

/** What is not among the decisions. */
export interface WhyMissing {
  earlier?: boolean
  droppedBefore?: string
}

/** One block per decision, oldest first. Times are UTC; the date stands where it changes. */
export function renderWhy(subject: WhySubject, decisions: readonly WhyDecision[], missing: WhyMissing = {}): string {
  const { earlier = false, droppedBefore } = missing
  const kept = droppedBefore === undefined ? '' : `decisions are kept since ${droppedBefore} (retention.journal)`
  if (decisions.length === 0)
    return kept === ''
      ? `nothing was decided about ${subject.kind} ${subject.id}, or it is no longer kept\n`
      : `nothing that was decided about ${subject.kind} ${subject.id} is kept: ${kept}\n`
  const lines: string[] = []
  if (earlier) lines.push('begins in the middle: there are earlier decisions, see them with a higher --limit')
  if (kept !== '') lines.push(`${earlier ? 'its beginning is gone' : 'begins in the middle'}: ${kept}`)
  if (lines.length > 0) lines.push('')
  let day = ''
  let before: WhyDecision | undefined
  for (const decision of decisions) {
    const date = decision.at.slice(0, 10)
    if (date !== day) lines.push(...(day === '' ? [] : ['']), date)
    day = date
    lines.push(oneLine(`${decision.at.slice(11, 23)}  ${decision.decision}  [${decision.rule}]`))
    for (const [title, text] of detailsOf(subject, decision, before))
      lines.push(oneLine(`              ${title.padEnd(8)} ${text}`))
    before = decision
  }
  return `${lines.join('\n')}\n`
}

/** Reasons, commands and messages are other people's: a line of theirs must not look like one of ours. */
export function oneLine(text: string): string {
  return text.replaceAll('\n', '\\n').replaceAll('\r', '\\r')
}

function detailsOf(subject: WhySubject, decision: WhyDecision, before: WhyDecision | undefined): [string, string][] {
  const named = (['run', 'lease', 'worker', 'provider', 'pool'] as const).flatMap((kind) => {
    const id = decision[kind]
    // What is asked about, or stands above, need not be said again; but without another one of its kind named, it is read as of what is asked about.
    const clear = subject.kind === kind ? subject.id === id : before?.[kind] === id
    return id === undefined || clear ? [] : [`${kind} ${id}`]
  })
  const inputs = Object.entries(decision.inputs).map(([key, value]) => `${key} ${shown(value)}`)
  return [
    ...(named.length === 0 ? [] : [['of', named.join(', ')] satisfies [string, string]]),
    ...(inputs.length === 0 ? [] : [['because', inputs.join(' · ')] satisfies [string, string]]),
    ...(decision.change === '' ? [] : [['unless', decision.change] satisfies [string, string]]),
  ]
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length <= MOST_VALUE ? text : `${text.slice(0, MOST_VALUE)}…`
}
