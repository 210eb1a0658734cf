import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { importCompose } from './compose.ts'
import { parseConfig } from './load.ts'

const input = (name: string): Promise<string> => readFile(new URL(`testing/compose-${name}.yaml`, import.meta.url), 'utf8')
const problemsOf = (content: string): string[] =>
  importCompose('compose.yaml', content).problems.map(({ line, reason }) => `${line}: ${reason}`)

describe('a Compose file', () => {
  test.each([
    ['database', ['db']],
    ['browser', ['chrome']],
    ['queue', ['zookeeper', 'broker', 'cache']],
  ])('of a %s becomes services that muster.yaml takes', async (name, services) => {
    const imported = importCompose(`${name}.yaml`, await input(name))
    expect(imported.problems).toEqual([])
    expect(imported.services?.map((service) => service.name)).toEqual(services)
    const worker = parse(stringify({ services: imported.services })) as object
    const file = stringify({
      host: { data: '/nonexistent' },
      providers: { docker: { plugin: 'docker' } },
      pools: { ci: { placement: ['docker'], worker: { image: 'i', ...worker } } },
    })
    expect(parseConfig('/muster.yaml', file).problems).toEqual([])
  })

  test('keeps program, environment and health', async () => {
    const { services, ports } = importCompose('x', await input('database'))
    expect(services).toEqual([
      {
        name: 'db',
        image: 'postgres:18',
        env: { POSTGRES_PASSWORD: 'secret', POSTGRES_DB: 'app', PGPORT: '5432' },
        command: ['postgres', '-c', 'fsync=off'],
        readiness: {
          exec: ['/bin/sh', '-c', 'pg_isready -U postgres -d app'],
          ...{ interval: '2000ms', timeout: '5000ms', failures: 10 },
        },
      },
    ])
    expect(ports).toEqual([{ service: 'db', ports: ['5432:5432'] }])
  })

  test('with anything else is refused, each with its line', () => {
    const content = [
      'services:',
      '  db:',
      '    image: d',
      '    volumes: [data:/var/lib/data]',
      '    privileged: true',
      '    restart: always',
      '    healthcheck:',
      '      test: [CMD, ready]',
      '      start_interval: 1s',
      'volumes:',
      '  data: {}',
    ].join('\n')
    expect(new Set(problemsOf(content).map((text) => text.split(':')[0]))).toEqual(new Set(['4', '5', '6', '9', '10']))
  })

  test.each([
    ['a need that is not there', 'services: { a: { image: i, depends_on: [b] } }', /no service 'b'/],
    [
      'needs in a circle',
      'services: { a: { image: i, depends_on: [b] }, b: { image: i, depends_on: [a] } }',
      /wait for each other/,
    ],
    ['a program with quotes', 'services: { a: { image: i, command: "sh -c \\"x y\\"" } }', /quotes/],
    ['a duration that is none', 'services: { a: { image: i, healthcheck: { test: x, interval: soon } } }', /no duration/],
    ['a service that is built', 'services: { a: { build: . } }', /build|image/],
  ])('with %s is refused', (_name, content, expected) => {
    expect(problemsOf(content).join('\n')).toMatch(expected)
  })
})
