/** The zoo without a cage: each fault does its harm to a host that has no defence. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundledAnimal, letLoose } from './testing/zoo/cage.ts'
import { type Fate, type Fault, faults } from './testing/zoo/faults.ts'
import { type Fence, openFence } from './testing/zoo/fence.ts'

let code: string
let fence: Fence | undefined
beforeAll(async () => {
  ;[code, fence] = await Promise.all([bundledAnimal(), openFence()])
})
afterAll(() => fence?.drop())

const harmful = Object.entries<Fate>(faults).flatMap(([name, { does, harm }]) =>
  harm === undefined ? [] : [{ name: name as Fault, does, harm }],
)

describe.concurrent('without a defence its harm is real: a plugin that', () => {
  test.each(harmful)('$does: $harm.is', async ({ name, harm }) => {
    expect(await letLoose(name, { harm: harm.shows, code, ...(fence === undefined ? {} : { fence }) })).toMatch(harm.shows)
  })
})
