/** From the checked file to the plan: matrix, variables, artifacts, order. Pure; problems instead of errors. */
import { posix } from 'node:path'
import { type ProblemAt, suggest } from './document.ts'
import type { PlannedInput, PlannedJob, PlannedOutput } from './plan.ts'
import type { PipelineProblem } from './problem.ts'
import type { JobFile, PipelineFile } from './schema.ts'
import { asNamePart, combinations, substitute } from './variables.ts'

/** More are a slip of a matrix, and nobody could look at them. */
const MOST_JOBS = 500
/** Names of a run's artifacts in the API. */
const artifactPattern = /^[a-z0-9-]{1,40}$/
/** The input under which the workspace travels. */
export const workspaceInput = 'workspace'

/** One job before it knows who makes what it takes. */
interface Draft extends Omit<PlannedJob, 'needs' | 'inputs'> {
  inputs: Omit<PlannedInput, 'from'>[]
  file: JobFile
}

export function expandPipeline(file: PipelineFile, problem: ProblemAt): { jobs: PlannedJob[]; problems: PipelineProblem[] } {
  const problems: PipelineProblem[] = []
  const drafts = Object.entries(file.jobs).flatMap(([name, job]) => unfold({ name, job, file }, problem, problems))
  if (drafts.length > MOST_JOBS)
    problems.push(
      problem(['jobs'], { at: 'key', reason: `${drafts.length} jobs, at most ${MOST_JOBS}`, fix: 'make a matrix smaller' }),
    )
  checkNames(drafts, problem, problems)
  const makers = collectMakers(drafts, problem, problems)
  const jobs = drafts.map((draft) => connect(draft, { file, drafts, makers }, (path, text) => problems.push(problem(path, text))))
  if (problems.length === 0) problems.push(...findCycle(jobs, problem))
  return { jobs, problems }
}

/** The jobs of one entry of the file. */
function unfold(
  { name, job, file }: { name: string; job: JobFile; file: PipelineFile },
  problem: ProblemAt,
  problems: PipelineProblem[],
): Draft[] {
  const path = ['jobs', name]
  problems.push(...checkExclude(job, path, problem))
  const all = combinations(job.matrix, job.exclude)
  if (all.length === 0)
    problems.push(problem([...path, 'exclude'], { at: 'key', reason: 'nothing of the matrix is left', fix: 'exclude less' }))
  const env = { ...file.env, ...job.env }
  return all.map((values) => {
    const take = (
      text: string,
      at: PropertyKey[],
      how: { shell?: ReadonlySet<string>; values?: Record<string, string> } = {},
    ): string => {
      const done = substitute(text, how.values ?? values, how.shell)
      for (const unknown of done.unknown)
        problems.push(
          problem([...path, ...at], {
            reason: `'\${${unknown}}' is no variable of the matrix of '${name}'`,
            fix: suggestVariable(unknown, { values, shell: how.shell !== undefined }),
          }),
        )
      return done.text
    }
    const parts = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, asNamePart(value)]))
    const shown = Object.values(values)
    const { cpu, memory, pids } = job.resources ?? {}
    const draft: Draft = {
      id: job.name === undefined ? (shown.length === 0 ? name : `${name} (${shown.join(', ')})`) : take(job.name, ['name']),
      job: name,
      run: take(job.run, ['run'], { shell: new Set(Object.keys(env)) }),
      env: Object.fromEntries(Object.entries(env).map(([key, value]) => [key, take(value, ['env', key])])),
      inputs: Object.entries(job.inputs ?? {}).map(([key, value]) => ({
        artifact: take(key, ['inputs', key], { values: parts }),
        path: take(value, ['inputs', key]),
      })),
      outputs: Object.entries(job.outputs ?? {}).map(([key, value]) => outputOf(key, value, { parts, take })),
      retries: job.retries ?? file.retries ?? 0,
      file: job,
      ...optional('pool', job.pool, (text) => take(text, ['pool'])),
      ...optional('image', job.image, (text) => take(text, ['image'])),
      ...optional('workdir', job.workdir, (text) => take(text, ['workdir'])),
      ...optional('timeoutMs', job.timeout ?? file.timeout),
      ...optional('queueTimeoutMs', job.queue),
      ...(job.resources === undefined
        ? {}
        : { resources: { ...optional('cpu', cpu), ...optional('memoryBytes', memory), ...optional('pids', pids) } }),
    }
    checkPaths(draft, path, (at, text) => problems.push(problem(at, text)))
    return draft
  })
}

type Take = (text: string, at: PropertyKey[], how?: { values?: Record<string, string> }) => string

function outputOf(
  key: string,
  value: string | { path: string; optional?: boolean },
  { parts, take }: { parts: Record<string, string>; take: Take },
): PlannedOutput {
  const artifact = take(key, ['outputs', key], { values: parts })
  if (typeof value === 'string') return { artifact, path: take(value, ['outputs', key]), optional: false }
  return { artifact, path: take(value.path, ['outputs', key, 'path']), optional: value.optional === true }
}

function optional<K extends string, V>(key: K, value: V | undefined, change: (value: V) => V = (same) => same): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: change(value) }) as { [P in K]?: V }
}

function suggestVariable(unknown: string, { values, shell }: { values: Record<string, string>; shell: boolean }): string {
  const near = suggest(unknown, Object.keys(values))
  if (near?.startsWith('did you mean') === true) return near
  return shell
    ? `define '${unknown}' under matrix, or write $${unknown} for a variable of the shell`
    : `define '${unknown}' under matrix, or write $\${${unknown}} for the text itself`
}

function checkExclude(job: JobFile, path: string[], problem: ProblemAt): PipelineProblem[] {
  return (job.exclude ?? []).flatMap((rule, index) =>
    Object.entries(rule).flatMap(([name, value]) => {
      const values = job.matrix?.[name]
      const at = [...path, 'exclude', index, name]
      if (values === undefined)
        return [
          problem(at, {
            at: 'key',
            reason: `'${name}' is no variable of the matrix`,
            fix: suggest(name, Object.keys(job.matrix ?? {})) ?? 'remove it',
          }),
        ]
      if (values.includes(value)) return []
      return [problem(at, { reason: `'${value}' is no value of '${name}'`, fix: suggest(value, values) ?? 'remove it' })]
    }),
  )
}

type Report = (path: PropertyKey[], text: { reason: string; fix: string; at?: 'key' | 'value' }) => void

/** Everything stays inside the workspace: that is all a job has in common with others. */
function checkPaths(draft: Draft, path: PropertyKey[], report: Report): void {
  const fix = 'write a path below the workspace'
  const check = (text: string, at: PropertyKey[], whole: boolean): void => {
    const normal = posix.normalize(text).replace(/\/$/, '')
    if (text.startsWith('/') || normal === '..' || normal.startsWith('../') || text.includes('\0'))
      report([...path, ...at], { reason: `'${text}' leads out of the workspace`, fix })
    else if (normal === '.' && !whole)
      report([...path, ...at], { reason: `'${text}' is the whole workspace`, fix: 'name a file or folder in it' })
  }
  if (draft.workdir !== undefined) check(draft.workdir, ['workdir'], true)
  for (const [index, key] of Object.keys(draft.file.inputs ?? {}).entries())
    check(draft.inputs[index]?.path ?? '', ['inputs', key], false)
  for (const [index, key] of Object.keys(draft.file.outputs ?? {}).entries())
    check(draft.outputs[index]?.path ?? '', ['outputs', key], false)
}

function checkNames(drafts: readonly Draft[], problem: ProblemAt, problems: PipelineProblem[]): void {
  const seen = new Map<string, Draft>()
  for (const draft of drafts) {
    const other = seen.get(draft.id)
    if (other !== undefined)
      problems.push(
        problem(['jobs', draft.job, 'name'], {
          reason: `two jobs would be called '${draft.id}'`,
          fix: other.job === draft.job ? 'put the variables of the matrix into the name' : 'choose another name',
        }),
      )
    seen.set(draft.id, draft)
    for (const [index, key] of Object.keys(draft.file.outputs ?? {}).entries()) {
      const name = draft.outputs[index]?.artifact ?? ''
      const at = ['jobs', draft.job, 'outputs', key]
      if (!artifactPattern.test(name) && !name.includes('${'))
        problems.push(
          problem(at, { at: 'key', reason: `'${name}' is no name of an artifact`, fix: 'use up to 40 of a-z, 0-9 and -' }),
        )
      if (name === workspaceInput)
        problems.push(
          problem(at, { at: 'key', reason: `'${name}' is how the workspace itself is called`, fix: 'choose another name' }),
        )
    }
  }
}

/** Artifact → the job that makes it. One artifact has one maker. */
function collectMakers(drafts: readonly Draft[], problem: ProblemAt, problems: PipelineProblem[]): Map<string, Draft> {
  const makers = new Map<string, Draft>()
  for (const draft of drafts) {
    for (const [index, key] of Object.keys(draft.file.outputs ?? {}).entries()) {
      const name = draft.outputs[index]?.artifact ?? ''
      const other = makers.get(name)
      if (other === undefined) makers.set(name, draft)
      else
        problems.push(
          problem(['jobs', draft.job, 'outputs', key], {
            at: 'key',
            reason: `'${name}' is made by '${other.id}' already`,
            fix: other.job === draft.job ? `put a variable of the matrix into the name, as ${name}-\${…}` : 'choose another name',
          }),
        )
    }
  }
  return makers
}

/** Finds who makes what it takes, and whom it waits for. */
function connect(
  draft: Draft,
  { file, drafts, makers }: { file: PipelineFile; drafts: readonly Draft[]; makers: ReadonlyMap<string, Draft> },
  report: Report,
): PlannedJob {
  const { inputs: taken, file: written, ...rest } = draft
  const path = ['jobs', draft.job]
  const needs = new Set<string>()
  for (const [index, name] of (written.needs ?? []).entries()) {
    if (file.jobs[name] === undefined)
      report([...path, 'needs', index], {
        reason: `no job is named '${name}'`,
        fix:
          suggest(
            name,
            Object.keys(file.jobs).filter((other) => other !== draft.job),
          ) ?? 'remove it',
      })
    for (const other of drafts) if (other.job === name) needs.add(other.id)
  }
  const inputs: PlannedInput[] = []
  for (const [index, key] of Object.keys(written.inputs ?? {}).entries()) {
    const input = taken[index]
    const maker = makers.get(input?.artifact ?? '')
    if (input === undefined || maker === undefined) {
      if (input?.artifact.includes('${') !== true)
        report([...path, 'inputs', key], {
          at: 'key',
          reason: `no job makes an artifact '${input?.artifact ?? key}'`,
          fix: suggest(input?.artifact ?? key, makers.keys()) ?? 'add it to the outputs of a job',
        })
      continue
    }
    needs.add(maker.id)
    inputs.push({ ...input, from: maker.id })
  }
  return { ...rest, needs: [...needs], inputs }
}

/** The first circle, told once. */
function findCycle(jobs: readonly PlannedJob[], problem: ProblemAt): PipelineProblem[] {
  const byId = new Map(jobs.map((job) => [job.id, job]))
  const done = new Set<string>()
  const visit = (job: PlannedJob, trail: readonly PlannedJob[]): readonly PlannedJob[] | undefined => {
    const again = trail.indexOf(job)
    if (again >= 0) return trail.slice(again)
    if (done.has(job.id)) return undefined
    for (const id of job.needs) {
      const need = byId.get(id)
      const found = need && visit(need, [...trail, job])
      if (found) return found
    }
    done.add(job.id)
    return undefined
  }
  for (const job of jobs) {
    const circle = visit(job, [])
    if (circle === undefined) continue
    const names = [...new Set(circle.map((one) => one.job))]
    const first = circle[0]?.job ?? job.job
    return [
      problem(['jobs', first, 'needs'], {
        at: 'key',
        reason:
          names.length === 1 ? `'${first}' needs itself` : `these jobs wait for each other: ${[...names, first].join(' → ')}`,
        fix: 'take one of them out of needs or inputs',
      }),
    ]
  }
  return []
}
