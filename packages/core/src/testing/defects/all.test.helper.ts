/** All seeded defects, and the suite run over one of them. */
import { fileURLToPath } from 'node:url'
import { fakeSetup } from '../fake/conformance.ts'
import { inProcessPlugin, processPlugin } from '../suite/link.ts'
import { checkProvider, type Outcome } from '../suite/run.ts'
import { callDefects, extraDefects, lastDefects, secretDefects } from './calls.test.helper.ts'
import { type Defect, defectivePlugin, litterOf } from './defect.test.helper.ts'
import { execDefects } from './exec.test.helper.ts'
import { launchDefects } from './launch.test.helper.ts'
import { listDefects } from './list.test.helper.ts'
import { copyDefects, logDefects } from './logs.test.helper.ts'
import { terminateDefects } from './terminate.test.helper.ts'
import { terminalDefects } from './terminal.test.helper.ts'
import { agentDefects, fieldDefects, workDefects } from './work.test.helper.ts'

export const defects: readonly Defect[] = [
  ...launchDefects,
  ...terminateDefects,
  ...listDefects,
  ...workDefects,
  ...agentDefects,
  ...fieldDefects,
  ...logDefects,
  ...execDefects,
  ...terminalDefects,
  ...copyDefects,
  ...extraDefects,
  ...callDefects,
  ...secretDefects,
  ...lastDefects,
]

const child = fileURLToPath(new URL('child.test.helper.ts', import.meta.url))

/** The suite, or one test of it, over the fake provider with this defect. */
export async function outcomesWith(defect: Defect, only?: string): Promise<Outcome[]> {
  const capabilities = defect.capabilities === undefined ? {} : { capabilities: defect.capabilities }
  const start =
    defect.ownProcess === true
      ? processPlugin([process.execPath, '--conditions=@muster/source', child, defect.name])
      : inProcessPlugin((life) => defectivePlugin(defect, life))
  const setup = await fakeSetup({ ...capabilities, start })
  const { control } = setup
  try {
    return await checkProvider(
      {
        ...setup,
        // A defect that makes something wait for ever is found sooner; beside all the other tests even the sound ones take longer.
        patienceMs: only === undefined ? 30_000 : 10_000,
        ...(defect.ownProcess !== true && { floodBytes: 1_000_000 }),
        ...(defect.capabilities?.image === 'required' && { spec: { image: 'fake/usual' } }),
        leftovers: async (ids) => [...(await setup.leftovers(ids)), ...litterOf(control.dir, ids)],
      },
      { parallel: 12, ...(only === undefined ? {} : { only: ({ name }) => name === only }) },
    )
  } finally {
    await control.destroy()
  }
}
