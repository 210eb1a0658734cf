/** What an author says of plugin and vendor: `conformance.json` for any language, or a module that exports `setup`. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { providerErrorCodes, type SpecField, specFields } from '@muster/core'
import type { ConformanceSetup, ErrorCase, FieldCheck, MakeConformance } from '@muster/core/testing'
import * as z from 'zod'
import { PluginFault, readJson } from './finding.ts'

const names = ['conformance.json', 'conformance.ts', 'conformance.mjs', 'conformance.js']

/** `dir`: an empty folder for the setup. Error: PluginFault. */
export async function readSetup(folder: string, { file, dir }: { file?: string; dir: string }): Promise<ConformanceSetup> {
  const found = file ?? names.find((name) => existsSync(join(folder, name)))
  if (found === undefined)
    throw new PluginFault({
      place: folder,
      reason: `the suite must be told of the plugin's vendor, and there is none of ${names.join(', ')}`,
      fix: 'write one: what it says is in docs/guide/write-a-plugin.md',
    })
  const path = resolve(folder, found)
  return path.endsWith('.json') ? await fromJson(path, { folder, dir }) : await fromModule(path, dir)
}

async function fromModule(path: string, dir: string): Promise<ConformanceSetup> {
  const module = (await import(pathToFileURL(path).href)) as { setup?: MakeConformance }
  if (typeof module.setup !== 'function')
    throw new PluginFault({
      place: path,
      reason: 'it exports no function `setup`',
      fix: 'export const setup: MakeConformance = …',
    })
  return await module.setup({ dir })
}

const part = z.record(z.string(), z.unknown()).exactOptional()
const text = z.string().min(1)
const count = z.int().min(1).exactOptional()
const schema = z.strictObject({
  $schema: text.exactOptional(),
  config: z.unknown(),
  spec: part,
  scripts: z
    .strictObject({
      oom: z.strictObject({ script: text, spec: part }).exactOptional(),
      user: z.strictObject({ script: text, user: text, expect: text }).exactOptional(),
      echoServer: z.strictObject({ script: text, port: z.int(), spec: part }).exactOptional(),
    })
    .exactOptional(),
  fields: z
    .partialRecord(
      z.enum(specFields as readonly [SpecField, ...SpecField[]]),
      z.strictObject({
        spec: z.record(z.string(), z.unknown()),
        script: text,
        expect: z.union([text, z.strictObject({ matches: text })]),
      }),
    )
    .exactOptional(),
  /** A command; ids on its standard input, one a line. Each line that it prints is something left. */
  leftovers: z.array(text).min(1),
  errorCases: z
    .array(
      z.strictObject({
        name: text,
        spec: z.record(z.string(), z.unknown()),
        code: z.enum(providerErrorCodes),
        effect: z.enum(['none', 'possible']).exactOptional(),
        path: text.exactOptional(),
      }),
    )
    .exactOptional(),
  without: z.record(z.string(), text).exactOptional(),
  many: count,
  crowd: count,
  patienceMs: count,
  floodBytes: count,
  slowReaderBytes: count,
})

async function fromJson(path: string, { folder, dir }: { folder: string; dir: string }): Promise<ConformanceSetup> {
  const { value, at } = readJson(path, await readFile(path, 'utf8'))
  const parsed = schema.safeParse(placed(value, { dir, package: folder }))
  if (!parsed.success)
    throw new PluginFault(
      ...parsed.error.issues.map(({ path: way, message }) => ({
        place: at(way.filter((key) => typeof key !== 'symbol')),
        reason: `${way.join('.')}: ${message}`,
        fix: 'correct it',
      })),
    )
  const { $schema: _schema, config, scripts, fields, leftovers, errorCases, ...rest } = parsed.data
  const checks = Object.entries(fields ?? {}).map(([name, { expect, ...check }]): [string, FieldCheck] => [
    name,
    { ...check, expect: typeof expect === 'string' ? expect : new RegExp(expect.matches, 'm') },
  ])
  return {
    ...(rest as Partial<ConformanceSetup>),
    config,
    ...(scripts === undefined ? {} : { scripts }),
    fields: Object.fromEntries(checks),
    leftovers: (ids) => leftoversBy(leftovers, { ids, cwd: folder }),
    ...(errorCases === undefined ? {} : { hooks: { errorCases: errorCases.map(errorCase) } }),
  }
}

/** `${dir}` and `${package}` in every text. */
export function placed(value: unknown, words: Readonly<Record<string, string>>): unknown {
  if (typeof value === 'string') return value.replaceAll(/\$\{(dir|package)\}/g, (_, word: string) => words[word] ?? '')
  if (Array.isArray(value)) return value.map((one) => placed(one, words))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, placed(one, words)]))
}

async function leftoversBy(
  [file = '', ...args]: readonly string[],
  { ids, cwd }: { ids: readonly string[]; cwd: string },
): Promise<string[]> {
  const asked = promisify(execFile)(file, args, { cwd })
  // One that looks at everything need not read which workers are meant.
  asked.child.stdin?.on('error', () => undefined).end(`${ids.join('\n')}\n`)
  const { stdout } = await asked
  return stdout.split('\n').filter((line) => line !== '')
}

function errorCase({
  name,
  spec,
  code,
  effect = 'none',
  path,
}: NonNullable<z.infer<typeof schema>['errorCases']>[number]): ErrorCase {
  return {
    ...{ name, code, effect },
    ...(path === undefined ? {} : { path }),
    provoke: async (bench) => await (await bench.session()).launch(bench.lasting(spec)),
  }
}
