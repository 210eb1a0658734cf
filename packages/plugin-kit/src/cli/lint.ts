import { shownFinding } from '../finding.ts'
import { print } from '../io.ts'
import { lintPlugin } from '../lint.ts'

export async function lint({ folder, json }: { folder: string; json?: true }): Promise<boolean> {
  const found = await lintPlugin(folder)
  if (json === true) print(JSON.stringify(found, null, 2))
  else for (const finding of found) print(shownFinding(finding))
  if (json !== true && found.length === 0) print('nothing is wrong that can be seen without running it')
  return found.length === 0
}
