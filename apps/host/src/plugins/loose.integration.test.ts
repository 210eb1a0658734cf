/** The zoo without a cage: each fault does its harm to a host that has no defence. */
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundledAnimal, letLoose } from './testing/zoo/cage.ts'
import { type Fate, type Fault, faults } from './testing/zoo/faults.ts'
import { type Fence, findFence } from './testing/zoo/fence.ts'

const harmful = Object.entries<Fate>(faults).flatMap(([name, { does, harm }]) =>
  harm === undefined ? [] : [{ name: name as Fault, does, harm }],
)

suiteWith(await findFence(), 'a plugin', (openFence) => {
  let code: string
  let fence: Fence
  beforeAll(async () => {
    ;[code, fence] = await Promise.all([bundledAnimal(), openFence()])
  })
  afterAll(() => fence.drop())

  describe.concurrent('without a defence its harm is real: one that', () => {
    test.each(harmful)('$does: $harm.is', async ({ name, harm }) => {
      expect(await letLoose(name, { harm, code, fence })).toMatch(harm.shows)
    })
  })
})
