import { expect, test } from 'vitest'
import type { Engine, EngineRequest } from '../client.ts'
import { containerName, label } from '../labels.ts'
import { giveNameBack } from './renamed.ts'

const id = `w${'1'.repeat(26)}`

/** An engine with one container of the worker, and what it was asked for beside the list. */
function engineWith(name: string, labels: Record<string, string>) {
  const asked: string[] = []
  const row = { Id: 'c', Names: [`/${name}`], Labels: labels, State: 'running', ImageID: 'i' }
  const json = async ({ method, path }: EngineRequest): Promise<unknown> => {
    if (path === '/containers/json') return [row]
    asked.push(`${method} ${path}`)
    return { Config: { Labels: null } }
  }
  return { engine: { json } as unknown as Engine, asked }
}

const made = { [label.spec]: 'x' }

test.each([
  ['made since its name was asked for', { name: containerName(id), labels: made }, { back: true, asked: [] }],
  ['renamed', { name: 'elsewhere', labels: made }, { back: true, asked: ['GET /images/i/json', 'POST /containers/c/rename'] }],
  ['made by somebody who copied its tags', { name: 'elsewhere', labels: {} }, { back: false, asked: [] }],
])('a container that was %s', async (_, { name, labels }, expected) => {
  const { engine, asked } = engineWith(name, labels)
  const back = await giveNameBack(engine, { id, owner: [] }, new AbortController().signal)
  expect({ back, asked }).toEqual(expected)
})
