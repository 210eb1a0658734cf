/** Options that are given as NAME=VALUE, once or often. */
import { InvalidArgumentError } from 'commander'
import { parsing } from './context.ts'

export function collect(text: string, before: string[]): string[] {
  return [...before, text]
}

/** As `docker run -e`: a name alone takes its value from here, and nothing when it has none. */
export function collectEnv(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=')
  const name = at < 0 ? text : text.slice(0, at)
  const value = at < 0 ? process.env[name] : text.slice(at + 1)
  parsing((given) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(given) ? given : undefined), 'NAME=VALUE or NAME')(name)
  return value === undefined ? before : { ...before, [name]: value }
}

export function collectLabel(text: string, before: Record<string, string>): Record<string, string> {
  const [name, value] = parsing(pair, 'NAME=VALUE')(text)
  return { ...before, [name]: value }
}

export function collectOutput(text: string, before: { name: string; path: string }[]): { name: string; path: string }[] {
  const [name, path] = parsing((given) => {
    const found = pair(given)
    return found !== undefined && /^[a-z0-9-]{1,40}$/.test(found[0]) ? found : undefined
  }, 'NAME=PATH, with a name of 1 to 40 of a-z, 0-9 and -')(text)
  if (before.some((one) => one.name === name)) throw new InvalidArgumentError('It has the name of another output.')
  return [...before, { name, path }]
}

function pair(text: string): [string, string] | undefined {
  const at = text.indexOf('=')
  return at < 1 || at === text.length - 1 ? undefined : [text.slice(0, at), text.slice(at + 1)]
}
