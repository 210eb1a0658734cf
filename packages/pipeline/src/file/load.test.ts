import { describe, expect, it } from 'vitest'
import { parsePipeline } from './load.ts'
import { formatProblem } from './problem.ts'

const good = `
name: demo
workspace: src
env: { CI: "true" }
retries: 1
jobs:
  build:
    run: make
    outputs:
      bundle: dist
  test:
    inputs:
      bundle: dist
    matrix:
      suite: [unit, e2e]
      node: [24, 26]
    exclude:
      - { suite: e2e, node: 24 }
    env: { SUITE: "\${suite}" }
    run: run-tests --\${suite} --node=\${node} "\${SUITE}" $HOME \${HOME:-/}
    timeout: 10m
    resources: { cpu: 2, memory: 512Mi }
    outputs:
      report-\${suite}-\${node}: { path: report, optional: true }
  release:
    needs: [test]
    run: publish
    pool: big
    image: node:26
    queue: 90s
    workdir: pkg
`

function problemsOf(text: string): string[] {
  return parsePipeline('p.yaml', text).problems.map((problem) => formatProblem(problem).replace(/^p\.yaml:/, ''))
}

describe('a right file', () => {
  it('becomes jobs', () => {
    const { plan, problems } = parsePipeline('/x/p.yaml', good)
    expect(problems).toEqual([])
    expect(plan).toMatchObject({ name: 'demo', file: '/x/p.yaml', workspace: '/x/src', ignore: [] })
    expect(plan?.jobs.map((job) => job.id)).toEqual(['build', 'test (unit, 24)', 'test (unit, 26)', 'test (e2e, 26)', 'release'])
    expect(plan?.jobs[1]).toEqual({
      id: 'test (unit, 24)',
      job: 'test',
      needs: ['build'],
      run: 'run-tests --unit --node=24 "${SUITE}" $HOME ${HOME:-/}',
      env: { CI: 'true', SUITE: 'unit' },
      inputs: [{ artifact: 'bundle', path: 'dist', from: 'build' }],
      outputs: [{ artifact: 'report-unit-24', path: 'report', optional: true }],
      retries: 1,
      timeoutMs: 600_000,
      resources: { cpu: 2, memoryBytes: 536_870_912 },
    })
    expect(plan?.jobs[4]).toMatchObject({
      needs: ['test (unit, 24)', 'test (unit, 26)', 'test (e2e, 26)'],
      pool: 'big',
      image: 'node:26',
      queueTimeoutMs: 90_000,
      workdir: 'pkg',
    })
  })

  it('needs no more than one job', () => {
    const { plan } = parsePipeline('/x/ci.pipeline.yaml', 'jobs: { a: { run: "true" } }')
    expect(plan).toMatchObject({ name: 'ci', workspace: '/x', jobs: [{ id: 'a', needs: [] }] })
  })

  it('gives every job of a matrix the name it asks for, and artifacts clean names', () => {
    const text =
      'jobs: { t: { name: "in ${zone}", matrix: { zone: [Asia/Tokyo, UTC] }, run: x, outputs: { "log-${zone}": log } } }'
    const jobs = parsePipeline('p.yaml', text).plan?.jobs
    expect(jobs?.map((job) => job.id)).toEqual(['in Asia/Tokyo', 'in UTC'])
    expect(jobs?.map((job) => job.outputs[0]?.artifact)).toEqual(['log-asia-tokyo', 'log-utc'])
  })

  it('keeps what stands for itself', () => {
    expect(parsePipeline('p.yaml', 'jobs: { t: { run: "echo $${x}" } }').plan?.jobs[0]?.run).toBe('echo ${x}')
  })
})

describe('a wrong file names place, reason and fix', () => {
  it.each([
    ['', ['1:1: the file is empty (write at least one job)']],
    ['jobs: {}', ["1:7: 'jobs': needs a job (change the value as said)"]],
    ['name: x', ["1:1: 'jobs' is missing (add it (record))"]],
    ['jobs:\n\ta: 1', ['indent with spaces']],
    ['jobs: { a: { run: x } }\njobs: {}', ['keep one of the two']],
    ['jobs: { a: { run: x, neds: [] } }', ["1:22: unknown key 'neds' in 'jobs.a' (did you mean 'needs'?)"]],
    ['jobs: { a: {} }', ["1:12: 'jobs.a.run' is missing (add it (string))"]],
    ['jobs: { "a b": { run: x } }', ["1:9: 'jobs.a b': a job has a name of up to 40 letters, digits, - and _"]],
    ['jobs: { a: { run: x, env: { CI: true } } }', ["1:33: 'jobs.a.env.CI': expected text; put it in quotes"]],
    ['jobs: { a: { run: x, timeout: 10 } }', ["1:31: 'jobs.a.timeout': a duration is text with a unit, as 90s, 10m or 1h"]],
    ['jobs: { a: { run: x, timeout: 0s } }', ["'jobs.a.timeout': a duration is text with a unit"]],
    ['jobs: { a: { run: x, resources: { memory: 2GB } } }', ["'jobs.a.resources.memory': a size is a number with Ki"]],
    ['jobs: { a: { run: x, matrix: { v: [3.10] } } }', ["1:36: 'jobs.a.matrix.v.0': expected text or a whole number"]],
    ['jobs: { a: { run: x, needs: [buid] }, build: { run: x } }', ["1:30: no job is named 'buid' (did you mean 'build'?)"]],
    ['jobs: { a: { run: x, needs: [a] } }', ["1:22: 'a' needs itself (take one of them out of needs or inputs)"]],
    [
      'jobs: { a: { run: x, needs: [c] }, b: { run: x, needs: [a] }, c: { run: x, inputs: { o: p }, needs: [] }, d: { run: x, needs: [b], outputs: { o: p } } }',
      ['1:22: these jobs wait for each other: a → c → d → b → a'],
    ],
    [
      'jobs: { a: { run: x, inputs: { bundel: d } }, b: { run: x, outputs: { bundle: d } } }',
      ["1:32: no job makes an artifact 'bundel' (did you mean 'bundle'?)"],
    ],
    ['jobs: { a: { run: x, inputs: { one: d } } }', ["no job makes an artifact 'one' (add it to the outputs of a job)"]],
    [
      'jobs: { a: { run: "echo ${zone}", matrix: { zon: [u] } } }',
      ["1:19: '${zone}' is no variable of the matrix of 'a' (did you mean 'zon'?)"],
    ],
    ['jobs: { a: { run: "echo ${f}" } }', ["(define 'f' under matrix, or write $f for a variable of the shell)"]],
    [
      'jobs: { a: { run: x, image: "n:${v}" } }',
      ["1:29: '${v}' is no variable of the matrix of 'a' (define 'v' under matrix, or write $${v} for the text itself)"],
    ],
    [
      'jobs: { a: { run: x, outputs: { o: d } }, b: { run: x, outputs: { o: d } } }',
      ["1:67: 'o' is made by 'a' already (choose another name)"],
    ],
    [
      'jobs: { a: { run: x, matrix: { v: [1, 2] }, outputs: { o: d } } }',
      ["'o' is made by 'a (1)' already (put a variable of the matrix into the name, as o-${…})"],
    ],
    [
      'jobs: { a: { run: x, matrix: { v: [1, 2] }, name: A } }',
      ["two jobs would be called 'A' (put the variables of the matrix into the name)"],
    ],
    ['jobs: { a: { run: x, name: b }, b: { run: x } }', ["two jobs would be called 'b' (choose another name)"]],
    ['jobs: { a: { run: x, outputs: { Bundle: d } } }', ["1:33: 'Bundle' is no name of an artifact"]],
    ['jobs: { a: { run: x, outputs: { workspace: d } } }', ["1:33: 'workspace' is how the workspace itself is called"]],
    ['jobs: { a: { run: x, outputs: { o: ../d } } }', ["1:36: '../d' leads out of the workspace"]],
    ['jobs: { a: { run: x, outputs: { o: { path: /d } } } }', ["'/d' leads out of the workspace"]],
    ['jobs: { a: { run: x, outputs: { o: . } } }', ["'.' is the whole workspace (name a file or folder in it)"]],
    [
      'jobs: { a: { run: x, outputs: { o: { pth: d } } } }',
      ["1:36: 'jobs.a.outputs.o.path' is missing", "unknown key 'pth' in 'jobs.a.outputs.o' (did you mean 'path'?)"],
    ],
    ['jobs: { a: { run: x, workdir: a/../.. } }', ["'a/../..' leads out of the workspace"]],
    ['jobs: { a: { run: x, matrix: { v: [1] }, exclude: [{ v: 1 }] } }', ['nothing of the matrix is left (exclude less)']],
    [
      'jobs: { a: { run: x, matrix: { v: [1] }, exclude: [{ w: 1 }, { v: 2 }] } }',
      ["'w' is no variable of the matrix", "'2' is no value of 'v'"],
    ],
    ['jobs: { a: { run: x, matrix: { v: [] } } }', ["'jobs.a.matrix.v': needs a value"]],
  ])('%s', (text, wanted) => {
    const problems = problemsOf(text)
    expect(problems).toHaveLength(wanted.length)
    for (const [index, part] of wanted.entries()) expect(problems[index]).toContain(part)
  })

  it('has no more jobs than anyone could look at', () => {
    const values = Array.from({ length: 501 }, (_, n) => n).join(', ')
    expect(problemsOf(`jobs: { a: { run: x, matrix: { v: [${values}] } } }`)).toEqual([
      '1:1: 501 jobs, at most 500 (make a matrix smaller)',
    ])
  })

  it('tells all problems together, in the order of the file', () => {
    const problems = problemsOf('jobs:\n  b: { run: x, needs: [zz] }\n  a: { run: "${q}", outputs: { "B": /d } }\n')
    expect(problems.map((text) => text.split(':')[0])).toEqual(['2', '3', '3', '3'])
  })
})

it('aliases that unfold to more than anybody wrote are a problem of the file, with the place of the first', () => {
  const list = (name: string, of: string): string => `${name}: &${name} [${Array(10).fill(of).join(', ')}]`
  const text = [list('a', 'x'), list('b', '*a'), list('c', '*b'), list('d', '*c'), 'jobs: { a: { run: x } }'].join('\n')
  expect(problemsOf(text)).toEqual([
    expect.stringMatching(/^2:8: its aliases cannot be resolved: .*alias.* \(write the values out/),
  ])
})
